/* rustc asks /proc/self/exe where it lies and will not go on without an answer. A jail has no /proc; the kernel told
 * every process the same at its start. Preloaded into the compiler, never into the program. No headers: it is compiled
 * anew for each submission, in 30 ms, and headers would double that. */
typedef unsigned long size;

extern size getauxval(size);
extern long syscall(long, ...);
extern int strcmp(const char *, const char *);
extern size strlen(const char *);
extern void *memcpy(void *, const void *, size);

enum { AT_EXECFN = 31, AT_FDCWD = -100, READLINKAT =
#if defined __x86_64__
    267
#elif defined __aarch64__
    78
#endif
};

long readlink(const char *path, char *into, size room) {
    if (strcmp(path, "/proc/self/exe") != 0)
        return syscall(READLINKAT, AT_FDCWD, path, into, room);
    const char *self = (const char *)getauxval(AT_EXECFN);
    size length = strlen(self);
    if (length > room)
        length = room;
    memcpy(into, self, length);
    return (long)length;
}
