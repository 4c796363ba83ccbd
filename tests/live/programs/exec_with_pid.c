/* Run a program with a chosen PID, as root, and return its exit status:
 *   exec_with_pid PID PROGRAM ARGUMENTS... */
#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    pid_t chosen = argc > 2 ? atoi(argv[1]) : 0;
    struct clone_args arguments = {
        .exit_signal = SIGCHLD, .set_tid = (uintptr_t)&chosen, .set_tid_size = 1};
    long pid = syscall(SYS_clone3, &arguments, sizeof arguments);
    int status;

    if (pid < 0) {
        perror("clone3");
        return 1;
    }
    if (pid == 0) {
        execv(argv[2], argv + 2);
        _exit(127);
    }
    return waitpid((pid_t)pid, &status, 0) == pid ? WEXITSTATUS(status) : 1;
}
