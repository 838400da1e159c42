/* Writes down what a process does to the files below a folder, so that a test can make what a power cut would leave.
 *
 * POWER_FOLDER: the folder. POWER_LOG: where the records go, each a line, W with so many bytes behind it:
 * W bytes offset path, T length path, S path (synced), U path, R from-path<tab>to-path.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define REAL(type, name, ...) \
    static type (*real)(__VA_ARGS__); \
    if (!real) real = (type (*)(__VA_ARGS__))dlsym(RTLD_NEXT, name)

static ssize_t put(const char *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    static int fd = -1;
    if (fd < 0) fd = open(getenv("POWER_LOG"), O_WRONLY | O_APPEND | O_CREAT, 0600);
    return real(fd, data, size);
}

static void note(const char *format, ...)
{
    char line[9000];
    va_list args;
    va_start(args, format);
    int size = vsnprintf(line, sizeof line, format, args);
    va_end(args);
    put(line, size);
}

static int is_ours(const char *path)
{
    const char *folder = getenv("POWER_FOLDER");
    return folder && !strncmp(path, folder, strlen(folder));
}

/* The path of an open file below the folder, or NULL. */
static const char *path_of(int fd)
{
    static __thread char path[4097];
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t size = readlink(link, path, sizeof path - 1);
    if (size < 0) return NULL;
    path[size] = 0;
    return is_ours(path) ? path : NULL;
}

static void wrote(int fd, const void *data, ssize_t size, off_t offset)
{
    const char *path = size > 0 ? path_of(fd) : NULL;
    if (!path) return;
    note("W %zd %lld %s\n", size, (long long)offset, path);
    put(data, size);
}

ssize_t write(int fd, const void *data, size_t size)
{
    REAL(ssize_t, "write", int, const void *, size_t);
    off_t before = lseek(fd, 0, SEEK_CUR);
    ssize_t done = real(fd, data, size);
    if (before >= 0) wrote(fd, data, done, before);
    return done;
}

ssize_t pwrite(int fd, const void *data, size_t size, off_t offset)
{
    REAL(ssize_t, "pwrite", int, const void *, size_t, off_t);
    ssize_t done = real(fd, data, size, offset);
    wrote(fd, data, done, offset);
    return done;
}

ssize_t pwrite64(int fd, const void *data, size_t size, off_t offset) { return pwrite(fd, data, size, offset); }

int ftruncate(int fd, off_t size)
{
    REAL(int, "ftruncate", int, off_t);
    int failed = real(fd, size);
    const char *path = failed ? NULL : path_of(fd);
    if (path) note("T %lld %s\n", (long long)size, path);
    return failed;
}

int ftruncate64(int fd, off_t size) { return ftruncate(fd, size); }

static int synced(int fd, int failed)
{
    const char *path = failed ? NULL : path_of(fd);
    if (path) note("S %s\n", path);
    return failed;
}

int fsync(int fd) { REAL(int, "fsync", int); return synced(fd, real(fd)); }

int fdatasync(int fd) { REAL(int, "fdatasync", int); return synced(fd, real(fd)); }

int unlink(const char *path)
{
    REAL(int, "unlink", const char *);
    int failed = real(path);
    if (!failed && is_ours(path)) note("U %s\n", path);
    return failed;
}

int rename(const char *from, const char *to)
{
    REAL(int, "rename", const char *, const char *);
    int failed = real(from, to);
    if (!failed && is_ours(to)) note("R %s\t%s\n", from, to);
    return failed;
}
