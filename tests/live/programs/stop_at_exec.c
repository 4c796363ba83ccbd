/* Run a program under ptrace: stop it at each exec, print its PID, and wait for a line. */
#include <signal.h>
#include <stdio.h>
#include <sys/ptrace.h>
#include <sys/wait.h>
#include <unistd.h>

int main(int argc, char **argv)
{
    int status, line;
    pid_t pid = fork();

    (void)argc;
    if (pid == 0) {
        ptrace(PTRACE_TRACEME, 0, NULL, NULL);
        kill(getpid(), SIGSTOP);
        execv(argv[1], argv + 1);
        _exit(127);
    }
    waitpid(pid, &status, 0);
    ptrace(PTRACE_SETOPTIONS, pid, NULL, PTRACE_O_TRACEEXEC | PTRACE_O_EXITKILL);
    while (ptrace(PTRACE_CONT, pid, NULL, NULL) == 0 && waitpid(pid, &status, 0) == pid &&
           !WIFEXITED(status) && !WIFSIGNALED(status)) {
        if (status >> 8 != (SIGTRAP | PTRACE_EVENT_EXEC << 8))
            continue;
        printf("%d\n", pid);
        fflush(stdout);
        while ((line = getchar()) != '\n')
            if (line == EOF)
                return 1;
    }
    return 0;
}
