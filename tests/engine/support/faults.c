/* What a disk, a power cut and a clock can do to a process, at its n-th change of a file.

Loaded before the C library (LD_PRELOAD), it counts the calls that change files, and from the one that was asked for on
kills the process, or lets such calls fail as a full or a read-only disk does, or moves the clock. Nothing happens
before `faults_arm`. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdarg.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

enum { COUNT, KILL, FAIL, CLOCK };
enum { CREATES = 1, WRITES = 2, MOVES = 4 };

static volatile int armed;
static int kind, code, what, note = -1;
static long after, counted;
static long long shift;

void faults_arm(int new_kind, int new_code, int new_what, long new_after, int new_note, long long seconds) {
    kind = new_kind, code = new_code, what = new_what, after = new_after, note = new_note, shift = seconds;
    counted = 0;
    armed = 1;
}

long faults_counted(void) { return counted; }

/* Say whether a call is to fail. */
static int strikes(int class) {
    if (!armed) return 0;
    long now = __sync_add_and_fetch(&counted, 1);
    if (kind == KILL && now >= after) syscall(SYS_kill, getpid(), SIGKILL);
    if (kind == FAIL && now >= after && (class & what)) {
        errno = code;
        return 1;
    }
    return 0;
}

/* What is said, on 1 and 2, is not of the disk. */
static int is_file(int fd) {
    struct stat found;
    return fd > 2 && syscall(SYS_fstat, fd, &found) == 0 && S_ISREG(found.st_mode);
}

/* Note which files the disk has: the others a power cut may tear. */
static void noted(int fd) {
    unsigned long long inode;
    struct stat found;
    if (!armed || note < 0 || syscall(SYS_fstat, fd, &found) != 0) return;
    inode = found.st_ino;
    syscall(SYS_write, note, &inode, sizeof inode);
}

#define REAL(result, name, ...) static result (*real)(__VA_ARGS__); if (!real) real = dlsym(RTLD_NEXT, name)
#define OPENS(name) \
    int name(const char *path, int flags, ...) { \
        mode_t mode = 0; va_list rest; va_start(rest, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, const char *, int, ...); \
        if ((flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) && strikes(CREATES)) return -1; \
        return real(path, flags, mode); }
OPENS(open) OPENS(open64)
#define OPENS_AT(name) \
    int name(int at, const char *path, int flags, ...) { \
        mode_t mode = 0; va_list rest; va_start(rest, flags); \
        if (flags & (O_CREAT | O_TMPFILE)) mode = va_arg(rest, mode_t); \
        va_end(rest); \
        REAL(int, #name, int, const char *, int, ...); \
        if ((flags & (O_CREAT | O_TRUNC | O_WRONLY | O_RDWR)) && strikes(CREATES)) return -1; \
        return real(at, path, flags, mode); }
OPENS_AT(openat) OPENS_AT(openat64)

ssize_t write(int fd, const void *from, size_t size) {
    REAL(ssize_t, "write", int, const void *, size_t);
    return is_file(fd) && strikes(WRITES) ? -1 : real(fd, from, size);
}
ssize_t pwrite(int fd, const void *from, size_t size, off_t at) {
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    return is_file(fd) && strikes(WRITES) ? -1 : real(fd, from, size, at);
}
ssize_t pwrite64(int fd, const void *from, size_t size, off64_t at) {
    REAL(ssize_t, "pwrite64", int, const void *, size_t, off64_t);
    return is_file(fd) && strikes(WRITES) ? -1 : real(fd, from, size, at);
}
ssize_t writev(int fd, const struct iovec *from, int count) {
    REAL(ssize_t, "writev", int, const struct iovec *, int);
    return is_file(fd) && strikes(WRITES) ? -1 : real(fd, from, count);
}
#define MOVES_TWO(name) \
    int name(const char *from, const char *to) { \
        REAL(int, #name, const char *, const char *); \
        return strikes(MOVES) ? -1 : real(from, to); }
MOVES_TWO(rename) MOVES_TWO(link) MOVES_TWO(symlink)
int renameat(int a, const char *from, int b, const char *to) {
    REAL(int, "renameat", int, const char *, int, const char *);
    return strikes(MOVES) ? -1 : real(a, from, b, to);
}
#define MOVES_ONE(name) \
    int name(const char *path) { \
        REAL(int, #name, const char *); \
        return strikes(MOVES) ? -1 : real(path); }
MOVES_ONE(unlink) MOVES_ONE(rmdir)
int unlinkat(int at, const char *path, int flags) {
    REAL(int, "unlinkat", int, const char *, int);
    return strikes(MOVES) ? -1 : real(at, path, flags);
}
int mkdir(const char *path, mode_t mode) {
    REAL(int, "mkdir", const char *, mode_t);
    return strikes(CREATES) ? -1 : real(path, mode);
}
int mkdirat(int at, const char *path, mode_t mode) {
    REAL(int, "mkdirat", int, const char *, mode_t);
    return strikes(CREATES) ? -1 : real(at, path, mode);
}
#define SYNCS(name) \
    int name(int fd) { \
        REAL(int, #name, int); \
        if (strikes(WRITES)) return -1; \
        int answer = real(fd); \
        if (answer == 0) noted(fd); \
        return answer; }
SYNCS(fsync) SYNCS(fdatasync)

static long long moved(void) { return armed && kind == CLOCK && counted >= after ? shift : 0; }
int clock_gettime(clockid_t clock, struct timespec *at) {
    REAL(int, "clock_gettime", clockid_t, struct timespec *);
    int answer = real(clock, at);
    if (answer == 0 && clock == CLOCK_REALTIME) at->tv_sec += moved();
    return answer;
}
int gettimeofday(struct timeval *restrict at, void *restrict zone) {
    REAL(int, "gettimeofday", struct timeval *, void *);
    int answer = real(at, zone);
    if (answer == 0) at->tv_sec += moved();
    return answer;
}
time_t time(time_t *at) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    if (at) *at = now.tv_sec;
    return now.tv_sec;
}
