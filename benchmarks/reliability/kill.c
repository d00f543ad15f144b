/* Kills this process at its n-th call that changes a folder; loaded before the C library (LD_PRELOAD). */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

static char root[PATH_MAX];
static long at, calls;
static int half; /* a write at the n-th call writes half of its bytes first */
static char what[65536];

void growl_arm(const char *folder, long n, int torn) {
    calls = 0, at = n, half = torn, what[0] = 0;
    snprintf(root, sizeof root, "%s", folder);
}
long growl_calls(void) { return calls; }
const char *growl_what(void) { return what; }

static int ours(const char *path) {
    size_t n = strlen(root);
    return n && path && !strncmp(path, root, n) && (!path[n] || path[n] == '/') && !strstr(path, "/tensorboard");
}
static int ours_fd(int fd) {
    char name[64], path[PATH_MAX];
    if (!root[0]) return 0;
    snprintf(name, sizeof name, "/proc/self/fd/%d", fd);
    ssize_t n = readlink(name, path, sizeof path - 1);
    if (n < 0) return 0;
    path[n] = 0;
    return ours(path) ? 1 + !strstr(path, ".tmp") : 0;
}
static int reached(const char *name) {
    size_t n = strlen(what);
    calls++;
    snprintf(what + n, sizeof what - n, "%s ", name);
    return calls == at;
}
static void die(void) { kill(getpid(), SIGKILL); for (;;) pause(); }
static void count(const char *name) { if (reached(name)) die(); }

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

#define OPEN(name)                                                                     \
    int name(const char *path, int flags, ...) {                                       \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        if ((flags & (O_CREAT | O_TRUNC)) && ours(path)) count("open");               \
        return REAL(name)(path, flags, mode);                                          \
    }
#define OPENAT(name)                                                                   \
    int name(int dir, const char *path, int flags, ...) {                              \
        va_list list; va_start(list, flags); mode_t mode = va_arg(list, mode_t); va_end(list); \
        if ((flags & (O_CREAT | O_TRUNC)) && ours(path)) count("open");               \
        return REAL(name)(dir, path, flags, mode);                                     \
    }
OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)

#define FOPEN(name)                                                                    \
    FILE *name(const char *path, const char *mode) {                                   \
        if (mode[0] != 'r' && ours(path)) count("open");                              \
        return REAL(name)(path, mode);                                                 \
    }
FOPEN(fopen) FOPEN(fopen64)

ssize_t write(int fd, const void *data, size_t n) {
    int mine = ours_fd(fd); /* 2: not a temporary file, whose half would count */
    if (mine && reached(mine == 2 ? "append" : "write")) {
        if (half) REAL(write)(fd, data, n / 2);
        die();
    }
    return REAL(write)(fd, data, n);
}
ssize_t writev(int fd, const struct iovec *v, int n) {
    if (ours_fd(fd)) count("write");
    return REAL(writev)(fd, v, n);
}
ssize_t pwrite64(int fd, const void *data, size_t n, off_t to) {
    if (ours_fd(fd)) count("write");
    return REAL(pwrite64)(fd, data, n, to);
}
int ftruncate(int fd, off_t n) { if (ours_fd(fd)) count("truncate"); return REAL(ftruncate)(fd, n); }
int ftruncate64(int fd, off_t n) { if (ours_fd(fd)) count("truncate"); return REAL(ftruncate64)(fd, n); }
int truncate(const char *path, off_t n) { if (ours(path)) count("truncate"); return REAL(truncate)(path, n); }
int mkdir(const char *path, mode_t mode) { if (ours(path)) count("mkdir"); return REAL(mkdir)(path, mode); }
int rmdir(const char *path) { if (ours(path)) count("rmdir"); return REAL(rmdir)(path); }
int unlink(const char *path) { if (ours(path)) count("unlink"); return REAL(unlink)(path); }
int unlinkat(int dir, const char *path, int flags) {
    if (ours(path) || ours_fd(dir)) count("unlink");
    return REAL(unlinkat)(dir, path, flags);
}
int rename(const char *from, const char *to) { if (ours(to)) count("rename"); return REAL(rename)(from, to); }
int renameat(int a, const char *from, int b, const char *to) {
    if (ours(to)) count("rename");
    return REAL(renameat)(a, from, b, to);
}
int link(const char *from, const char *to) { if (ours(to)) count("link"); return REAL(link)(from, to); }
int symlink(const char *from, const char *to) { if (ours(to)) count("link"); return REAL(symlink)(from, to); }
