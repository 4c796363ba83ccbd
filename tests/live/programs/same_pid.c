/* Run two children, one after the other, with the same PID: the first exits with 1, the
 * second with 2. Print the PID. */

#define _GNU_SOURCE
#include <linux/sched.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

int main(void)
{
    pid_t reused = fork();
    struct clone_args args = {.exit_signal = SIGCHLD, .set_tid_size = 1};
    long pid;

    if (reused == 0)
        _exit(1);
    waitpid(reused, NULL, 0);
    args.set_tid = (uint64_t)(uintptr_t)&reused;
    pid = syscall(SYS_clone3, &args, sizeof args);
    if (pid == 0)
        _exit(2);
    if (pid < 0) {
        perror("clone3");
        return 1;
    }
    waitpid((pid_t)pid, NULL, 0);
    printf("%d\n", (int)reused);
    return 0;
}
