/*
 * Stress test of stream threads, for ThreadSanitizer. The threads of a round: a producer
 * sets numbered names, which must arrive in order and complete except for lost events;
 * one thread runs commands; a consumer reads; one thread polls and reads the loss
 * counters; one thread forks children, which may only close the stream. Some rounds close
 * the stream early. Each round has another combination of stream features: a receiving
 * thread, programs, usage, a heartbeat.
 *
 *   threads SECONDS
 *
 * The exit status is 77 if process events are not available.
 */
#include <errno.h>
#include <poll.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "round.h"

enum {
    BUFFER = 4000000,
    QUEUE = 32768, /* often full */
    TIMEOUT_S = 20,
    POLL_EVERY = 4,    /* batches */
    CHANGE_EVERY = 16, /* batches */
    COMMANDS = 50,
    CHILDREN = 5,
    NO_EVENTS = 77,
};

static void *produce(void *argument)
{
    struct round *round = argument;
    char name[COMM_NAME_SIZE];

    atomic_store(&round->producer, (uint32_t)syscall(SYS_gettid));
    for (unsigned i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "%u", i);
        prctl(PR_SET_NAME, name);
    }
    while (!atomic_load(&round->done)) { /* repeat, as the last event may be lost */
        usleep(1000);
        prctl(PR_SET_NAME, name);
    }
    return NULL;
}

static void *run_commands(void *argument)
{
    struct round *round = argument;
    char *words[] = {"true", NULL};
    pid_t child;

    for (unsigned i = 0; i < COMMANDS && !atomic_load(&round->done); i++) {
        CHECK(posix_spawnp(&child, words[0], NULL, NULL, words, words + 1) == 0);
        CHECK(waitpid(child, NULL, 0) == child);
    }
    return NULL;
}

/* Return whether a forked child is refused; its calls do not affect the parent's stream. */
static bool is_refused(struct round *round)
{
    struct procconn_stream *stream = round->stream;
    bool refused = stream_enter(stream, READING) == -ECHILD;

    procconn_lost(stream);
    stream_note_pending(stream);
    procconn_close(stream);
    procconn_free(&stream);
    return refused;
}

static void *fork_children(void *argument)
{
    struct round *round = argument;
    int status;
    pid_t child;

    for (unsigned i = 0; i < CHILDREN && !atomic_load(&round->done); i++) {
        child = fork();
        if (child == 0)
            _exit(is_refused(round) ? EXIT_SUCCESS : EXIT_FAILURE);
        CHECK(child > 0 && waitpid(child, &status, 0) == child && status == 0);
    }
    return NULL;
}

static int change(struct round *round)
{
    int status = 0;

    if (is_interrupting(round))
        status = procconn_unsubscribe(round->stream);
    if (status == 0)
        status = stream_enter(round->stream, CHANGING);
    if (status == 0) {
        status = stream_change_filter(round->stream, &round->filter);
        stream_leave(round->stream);
    }
    if (status == 0 && is_interrupting(round))
        status = procconn_subscribe(round->stream, round->number * 1000, NS_PER_S, 0);
    return status;
}

static void *consume(void *argument)
{
    struct round *round = argument;
    int64_t now_ns, until_ns = procconn_now_ns() + (int64_t)TIMEOUT_S * NS_PER_S;
    int status = 0;

    for (unsigned batches = 1; status != -ECANCELED && round->next < NAMES; batches++) {
        int64_t deadline_ns;

        now_ns = procconn_now_ns();
        CHECK(now_ns < until_ns);
        deadline_ns = batches % POLL_EVERY == 0 ? 0 : now_ns + NS_PER_S / 100;
        status = consume_batch(round, deadline_ns, batches % 2 == 0);
        CHECK(status == 0 || status == -ECANCELED);
        if (status < 0)
            break;
        if (batches % CHANGE_EVERY == 0)
            status = change(round);
        CHECK(status == 0 || status == -ECANCELED);
    }
    atomic_store(&round->done, true);
    return NULL;
}

static void *poll_stream(void *argument)
{
    struct round *round = argument;
    struct pollfd watched = {.events = POLLIN};

    while (!atomic_load(&round->done)) {
        procconn_lost(round->stream);
        watched.fd = procconn_hold_pollable(round->stream, 0);
        if (watched.fd < 0)
            continue;
        poll(&watched, 1, 1);
        procconn_release_pollable(round->stream);
    }
    procconn_close(round->stream); /* concurrently with other threads */
    return NULL;
}

/* Open a stream; return false if process events are not available. */
static bool begin(struct round *round)
{
    struct procconn_settings settings = {.receive_buffer = BUFFER, .heartbeat_ns = -1};
    int status;

    round->filter = (struct procconn_filter){.mask = PROCCONN_COMM | PROCCONN_EXEC | PROCCONN_EXIT,
                                             .thread_mask = UINT32_MAX};
    settings.filter = round->filter;
    settings.programs = has(round, PROGRAMS);
    settings.usage = has(round, USAGE);
    if (has(round, HEARTBEAT))
        settings.heartbeat_ns = NS_PER_S / 1000;
    settings.coalesce_ns = round->number % 7 == 0 ? 0 : NS_PER_S / 1000;
    status = procconn_open(&round->stream, &settings);
    if (status == 0)
        status = procconn_subscribe(round->stream, round->number * 1000, NS_PER_S, 0);
    if (status < 0) {
        fprintf(stderr, "no process events: %s\n", strerror(-status));
        procconn_free(&round->stream);
        return false;
    }
    if (has(round, THREAD))
        CHECK(procconn_start_thread(round->stream, QUEUE) == 0);
    return true;
}

static void run_round(struct round *round)
{
    void *(*const roles[])(void *) = {consume, poll_stream, produce, run_commands, fork_children};
    pthread_t threads[sizeof roles / sizeof *roles];

    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        CHECK(pthread_create(&threads[i], NULL, roles[i], round) == 0);
    if (is_closed_early(round)) {
        usleep((useconds_t)(rand() % 10000));
        procconn_close(round->stream);
    }
    for (size_t i = 0; i < sizeof roles / sizeof *roles; i++)
        pthread_join(threads[i], NULL);
    CHECK(is_interrupting(round) || is_closed_early(round) ||
          round->missing <= procconn_lost(round->stream).events);
    procconn_close(round->stream);
    procconn_free(&round->stream);
}

int main(int argc, char **argv)
{
    int64_t until_ns = procconn_now_ns() + (argc > 1 ? atoi(argv[1]) : 1) * (int64_t)NS_PER_S;
    uint64_t lost = 0, programs = 0, usages = 0;
    unsigned number = 0;

    do {
        struct round round = {.number = ++number};

        if (!begin(&round))
            return NO_EVENTS;
        run_round(&round);
        lost += round.lost;
        programs += round.programs;
        usages += round.usages;
    } while (procconn_now_ns() < until_ns);
    printf("%u rounds, %llu lost events, %llu programs, %llu usages\n", number,
           (unsigned long long)lost, (unsigned long long)programs, (unsigned long long)usages);
    return 0;
}
