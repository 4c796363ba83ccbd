/*
 * The loads, and the readers in C that procconn is compared with.
 *
 * Loads, each of which prints the median time of one item in ns:
 *
 *   floor events COUNT INTERVAL_NS   make COUNT COMM events
 *   floor forks COUNT                make COUNT processes that exit at once
 *   floor execs COUNT [INTERVAL_NS]  run /bin/true COUNT times
 *
 * Readers, which decode nothing:
 *
 *   floor drain COUNT                receive until the receive buffer is empty
 *   floor recv COUNT                 receive COUNT events, one blocking call each
 *   floor latency COUNT              the same; print each event's timestamp and age
 *   floor coalesce COUNT             receive COUNT events: when one arrives, sleep
 *                                    for 10 ms, then drain, and so on
 *
 * A reader prints "ready" when it is subscribed, starts at a line on stdin, prints
 * its result as JSON, and stays until stdin ends. SIGTERM stops it earlier.
 */
#define _GNU_SOURCE
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN = 1, IGNORE = 2, TIMESTAMP_AT = 44, RECEIVE_BUFFER = 134217728 };
enum { PARTS = 100 }; /* COUNT is a multiple */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;

    return (x > y) - (x < y);
}

static void make_event(void)
{
    prctl(PR_SET_NAME, "load");
}

static void make_process(void)
{
    pid_t pid = vfork();

    if (pid == 0)
        _exit(0);
    waitpid(pid, NULL, 0);
}

static void make_command(void)
{
    char *arguments[] = {"true", NULL}, *environment[] = {NULL};
    pid_t pid = vfork();

    if (pid == 0) {
        execve("/bin/true", arguments, environment);
        _exit(127);
    }
    waitpid(pid, NULL, 0);
}

/* The median of equal parts leaves out those that other processes interrupted. */
static void run_load(void (*make_one)(void), long count, int64_t interval)
{
    int64_t due = now_ns(), took[PARTS] = {0}, before = due;

    for (long i = 0; i < count; i++, due += interval) {
        while (interval != 0 && now_ns() < due)
            ;
        before = interval != 0 || i % (count / PARTS) == 0 ? now_ns() : before;
        make_one();
        if (interval != 0 || (i + 1) % (count / PARTS) == 0)
            took[i * PARTS / count] += now_ns() - before;
    }
    qsort(took, PARTS, sizeof *took, by_value);
    printf("%ld\n", (long)took[PARTS / 2] * PARTS / count);
}

/* nlmsghdr, cn_msg (idx 1, val 1, seq 0, ack 0, len 4), operation */
static void send_request(int fd, uint32_t op)
{
    uint32_t message[10] = {sizeof message, NLMSG_DONE, 0, 0, 1, 1, 0, 0, sizeof op, op};

    if (send(fd, message, sizeof message, 0) < 0)
        perror("send"), exit(1);
}

static int subscribe(void)
{
    struct sockaddr_nl address = {.nl_family = AF_NETLINK, .nl_groups = 1};
    int size = RECEIVE_BUFFER, yes = 1, fd = socket(AF_NETLINK, SOCK_DGRAM, NETLINK_CONNECTOR);

    if (fd < 0 || bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        perror("bind"), exit(1);
    if (setsockopt(fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof size) < 0)
        setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, sizeof size);
    setsockopt(fd, SOL_NETLINK, NETLINK_NO_ENOBUFS, &yes, sizeof yes);
    send_request(fd, LISTEN);
    return fd;
}

static volatile sig_atomic_t stopped;

static void stop(int number)
{
    (void)number;
    stopped = 1;
}

/* Waits for an event, and 10 ms for more; returns false if interrupted. */
static bool coalesce(int fd)
{
    struct pollfd readable = {.fd = fd, .events = POLLIN};
    struct timespec latency = {.tv_nsec = 10000000};

    return poll(&readable, 1, -1) > 0 && nanosleep(&latency, NULL) == 0;
}

static bool receive(int fd, uint8_t *message, size_t capacity, int flags, bool coalesces)
{
    struct sockaddr_nl sender;
    socklen_t size = sizeof sender;

    while (recvfrom(fd, message, capacity, flags, (struct sockaddr *)&sender, &size) < 0) {
        if (!coalesces || !coalesce(fd))
            return false;
    }
    return true;
}

static void read_events(const char *mode, long count)
{
    bool coalesces = strcmp(mode, "coalesce") == 0, drains = strcmp(mode, "drain") == 0;
    int fd = subscribe(), flags = coalesces || drains ? MSG_DONTWAIT : 0;
    int64_t (*ages)[2] = strcmp(mode, "latency") == 0 ? calloc((size_t)count, sizeof *ages) : NULL;
    uint8_t message[1024];
    struct sigaction action = {.sa_handler = stop}; /* no SA_RESTART */
    long received;

    sigaction(SIGTERM, &action, NULL);
    puts("ready");
    fflush(stdout);
    getchar();
    for (received = 0; (received < count || drains) && !stopped; received++) {
        if (!receive(fd, message, sizeof message, flags, coalesces))
            break;
        if (ages != NULL) {
            memcpy(&ages[received][0], message + TIMESTAMP_AT, sizeof ages[received][0]);
            ages[received][1] = now_ns() - ages[received][0];
        }
    }
    printf("{\"events\": %ld, \"ages\": [[0, 0]", received);
    for (long i = 0; ages != NULL && i < received; i++)
        printf(", [%ld, %ld]", (long)ages[i][0], (long)ages[i][1]);
    puts("]}");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    send_request(fd, IGNORE);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[2]) : 0;

    if (argc == 4 && strcmp(argv[1], "events") == 0)
        run_load(make_event, count, atol(argv[3]));
    else if (argc == 3 && strcmp(argv[1], "forks") == 0)
        run_load(make_process, count, 0);
    else if (argc <= 4 && strcmp(argv[1], "execs") == 0)
        run_load(make_command, count, argc == 4 ? atoll(argv[3]) : 0);
    else if (argc == 3)
        read_events(argv[1], count);
    else
        return 2;
    return 0;
}
