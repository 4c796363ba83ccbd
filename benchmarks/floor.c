/*
 * What the library is compared with, and the load for both: plain C.
 *
 *   floor storm COUNT INTERVAL   make COUNT comm events, one every INTERVAL ns,
 *                                and say how many ns each took
 *   floor forks COUNT            make COUNT processes that end at once, and say
 *                                how many ns each took
 *   floor drain COUNT            receive what is waiting, until nothing is left
 *   floor recv COUNT             receive COUNT events, a blocking call for each
 *   floor latency COUNT          the same, and say how old each was, in ns
 *
 * A reader says "ready" when it is subscribed, begins at a line on stdin, says
 * as JSON what it received, and stays until stdin ends.
 */
#define _GNU_SOURCE
#include <linux/netlink.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { LISTEN = 1, IGNORE = 2, TIMESTAMP_AT = 44, RECEIVE_BUFFER = 33554432 };
enum { INTERRUPTED = 100000 }; /* ns; a call so long was not alone on its processor */

static int64_t now_ns(void)
{
    struct timespec now;

    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

static void storm(long count, int64_t interval)
{
    int64_t start = now_ns(), due = start, within = 0, before, took;
    long timed = 0;

    for (long i = 0; i < count; i++, due += interval) {
        while (interval != 0 && now_ns() < due)
            ;
        before = interval != 0 ? now_ns() : 0;
        prctl(PR_SET_NAME, "storm");
        took = interval != 0 ? now_ns() - before : 0;
        if (took < INTERRUPTED) {
            within += took;
            timed++;
        }
    }
    printf("%ld\n", (long)(interval != 0 ? within / timed : (now_ns() - start) / count));
}

static void forks(long count)
{
    int64_t start = now_ns();

    for (long i = 0; i < count; i++) {
        pid_t pid = vfork();

        if (pid == 0)
            _exit(0);
        waitpid(pid, NULL, 0);
    }
    printf("%ld\n", (long)((now_ns() - start) / count));
}

/* A request: nlmsghdr, cn_msg (idx 1, val 1, no numbers, 4 bytes of data), op. */
static void request(int fd, uint32_t op)
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
    request(fd, LISTEN);
    return fd;
}

static void read_events(const char *mode, long count)
{
    int fd = subscribe(), flags = strcmp(mode, "drain") == 0 ? MSG_DONTWAIT : 0;
    int64_t *ages = strcmp(mode, "latency") == 0 ? calloc((size_t)count, sizeof *ages) : NULL;
    struct sockaddr_nl sender;
    socklen_t size = sizeof sender;
    uint8_t message[1024];
    long received;

    puts("ready");
    fflush(stdout);
    getchar();
    for (received = 0; received < count || flags != 0; received++) {
        if (recvfrom(fd, message, sizeof message, flags, (struct sockaddr *)&sender, &size) < 0)
            break;
        if (ages != NULL) {
            memcpy(&ages[received], message + TIMESTAMP_AT, sizeof *ages);
            ages[received] = now_ns() - ages[received];
        }
    }
    printf("{\"events\": %ld, \"ages\": [0", received);
    for (long i = 0; ages != NULL && i < received; i++)
        printf(",%ld", (long)ages[i]);
    puts("]}");
    fflush(stdout);
    while (getchar() != EOF)
        ;
    request(fd, IGNORE);
}

int main(int argc, char **argv)
{
    long count = argc > 2 ? atol(argv[2]) : 0;

    if (argc == 4 && strcmp(argv[1], "storm") == 0)
        storm(count, atol(argv[3]));
    else if (argc == 3 && strcmp(argv[1], "forks") == 0)
        forks(count);
    else if (argc == 3)
        read_events(argv[1], count);
    else
        return 2;
    return 0;
}
