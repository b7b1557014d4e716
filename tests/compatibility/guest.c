/* Preloaded into user-mode Linux, so that it runs where registers are larger than it knows (AMX).
 *
 * It gets and sets the extended registers of its processes by a buffer of its own size. The kernel below takes nothing
 * but all of them (xstateregs_set in arch/x86/kernel/fpu/regset.c): what the buffer lacks is put back as it was. */
#include <stdarg.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { EXTENDED_STATE = 0x202 };

long ptrace(enum __ptrace_request request, ...)
{
    va_list arguments;
    va_start(arguments, request);
    pid_t process = va_arg(arguments, pid_t);
    void *address = va_arg(arguments, void *);
    void *data = va_arg(arguments, void *);
    va_end(arguments);

    if (request == PTRACE_SETREGSET && (long)address == EXTENDED_STATE) {
        static char registers[1 << 16];
        struct iovec *known = data, all = {registers, sizeof registers};
        if (syscall(SYS_ptrace, PTRACE_GETREGSET, process, address, &all) < 0)
            return -1;
        if (known->iov_len < all.iov_len) {
            memcpy(registers, known->iov_base, known->iov_len);
            data = &all;
        }
    }
    /* What is peeked at is returned by the C library, and stored by the kernel. */
    long word;
    int is_peek = request >= PTRACE_PEEKTEXT && request <= PTRACE_PEEKUSER;
    long result = syscall(SYS_ptrace, request, process, address, is_peek ? &word : data);
    return is_peek && result == 0 ? word : result;
}
