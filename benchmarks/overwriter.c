/*
 * overwriter TEXT: overwrites its argument, then sleeps for 5 ms. It has no C library
 * startup code, so the overwrite is the first thing that the program does.
 */
#define _DEFAULT_SOURCE
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

void begin(long *stack);

#ifdef __x86_64__
__asm__(".globl _start\n_start: mov %rsp, %rdi\n and $-16, %rsp\n call begin\n");
#else
__asm__(".globl _start\n_start: mov x0, sp\n bl begin\n");
#endif

/* The initial stack holds argc, then argv. */
void begin(long *stack)
{
    for (volatile char *byte = (char *)stack[2]; stack[0] > 1 && *byte != 0; byte++)
        *byte = 'x';
    syscall(SYS_nanosleep, &(struct timespec){.tv_nsec = 5000000}, NULL);
    _exit(0);
}
