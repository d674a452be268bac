/* Writes down, in their order, all calls of a process that change files below a folder, with their data; and lets some
 * of them fail. Preloaded by `recorder.py`, which says what a record looks like.
 *
 * KOS_SHIM_ROOT  the folder
 * KOS_SHIM_TRACE the file for the records
 * KOS_SHIM_FAIL  CALL:NTH:TIMES:ERRNO, e.g. fsync:3:2:5: the third and the fourth such call fail with EIO; those for
 *                the file `notes` do not count
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

enum { CREATE = 1, WRITE, TRUNCATE, SYNC, RENAME, UNLINK, MKDIR, RMDIR, SYNC_FAILED };

struct head {
    uint32_t kind, path_size, other_size, data_size;
    uint64_t offset;
};

#define FDS 4096
static char *paths[FDS];
static char root[PATH_MAX];
static int trace = -1;
static char fail_call[16];
static long fail_nth, fail_times, fail_errno, failing_calls;
static pthread_mutex_t mutex = PTHREAD_RECURSIVE_MUTEX_INITIALIZER_NP;

__attribute__((constructor)) static void start(void)
{
    const char *wanted = getenv("KOS_SHIM_FAIL");
    if (!getenv("KOS_SHIM_ROOT") || !getenv("KOS_SHIM_TRACE"))
        return;
    snprintf(root, sizeof root, "%s/", getenv("KOS_SHIM_ROOT"));
    trace = syscall(SYS_openat, AT_FDCWD, getenv("KOS_SHIM_TRACE"), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);
    if (wanted)
        sscanf(wanted, "%15[^:]:%ld:%ld:%ld", fail_call, &fail_nth, &fail_times, &fail_errno);
}

#define REAL(name) ((typeof(&name)) dlsym(RTLD_NEXT, #name))

static const char *below(const char *path)
{
    return trace >= 0 && path && !strncmp(path, root, strlen(root)) ? path + strlen(root) : NULL;
}

static const char *of(int fd)
{
    return fd >= 0 && fd < FDS ? paths[fd] : NULL;
}

static void put(const void *data, size_t size)
{
    const char *at = data;
    while (size) {
        long done = syscall(SYS_write, trace, at, size);
        if (done <= 0)
            abort();
        at += done;
        size -= done;
    }
}

static void note(uint32_t kind, const char *path, const char *other, const void *data, size_t size, uint64_t offset)
{
    int before = errno;
    struct head head = {kind, strlen(path), other ? strlen(other) : 0, size, offset};
    put(&head, sizeof head);
    put(path, head.path_size);
    if (other)
        put(other, head.other_size);
    if (size)
        put(data, size);
    errno = before;
}

static int fails(const char *call, int fd)
{
    if (strcmp(call, fail_call) || !strcmp(of(fd), "notes"))
        return 0;
    failing_calls++;
    if (failing_calls < fail_nth || failing_calls >= fail_nth + fail_times)
        return 0;
    errno = fail_errno;
    return 1;
}

static int opened(int fd, const char *path, int flags, int existed)
{
    const char *name = below(path);
    if (fd < 0 || fd >= FDS)
        return fd;
    free(paths[fd]);
    paths[fd] = name ? strdup(name) : NULL;
    if (name && (flags & O_CREAT) && !existed)
        note(CREATE, name, NULL, NULL, 0, 0);
    else if (name && (flags & O_TRUNC))
        note(TRUNCATE, name, NULL, NULL, 0, 0);
    return fd;
}

#define OPEN(NAME, CALL)                                                                                               \
    {                                                                                                                  \
        mode_t mode = 0;                                                                                               \
        if (flags & O_CREAT) {                                                                                         \
            va_list rest;                                                                                              \
            va_start(rest, flags);                                                                                     \
            mode = va_arg(rest, mode_t);                                                                               \
            va_end(rest);                                                                                              \
        }                                                                                                              \
        pthread_mutex_lock(&mutex);                                                                                    \
        int existed = below(path) && !access(path, F_OK);                                                              \
        int fd = opened(CALL, path, flags, existed);                                                                   \
        pthread_mutex_unlock(&mutex);                                                                                  \
        return fd;                                                                                                     \
    }

int open(const char *path, int flags, ...) OPEN(open, REAL(open)(path, flags, mode))
int open64(const char *path, int flags, ...) OPEN(open64, REAL(open64)(path, flags, mode))
int openat(int at, const char *path, int flags, ...) OPEN(openat, REAL(openat)(at, path, flags, mode))
int openat64(int at, const char *path, int flags, ...) OPEN(openat64, REAL(openat64)(at, path, flags, mode))

int close(int fd)
{
    pthread_mutex_lock(&mutex);
    if (fd >= 0 && fd < FDS) {
        free(paths[fd]);
        paths[fd] = NULL;
    }
    int result = REAL(close)(fd);
    pthread_mutex_unlock(&mutex);
    return result;
}

ssize_t write(int fd, const void *data, size_t size)
{
    if (!of(fd))
        return REAL(write)(fd, data, size);
    pthread_mutex_lock(&mutex);
    struct stat found;
    off_t at = fcntl(fd, F_GETFL) & O_APPEND ? (fstat(fd, &found), found.st_size) : lseek(fd, 0, SEEK_CUR);
    ssize_t done = fails("write", fd) ? -1 : REAL(write)(fd, data, size);
    if (done > 0)
        note(WRITE, of(fd), NULL, data, done, at);
    pthread_mutex_unlock(&mutex);
    return done;
}

#define PWRITE(NAME)                                                                                                   \
    {                                                                                                                  \
        if (!of(fd))                                                                                                   \
            return REAL(NAME)(fd, data, size, at);                                                                     \
        pthread_mutex_lock(&mutex);                                                                                    \
        ssize_t done = fails("write", fd) ? -1 : REAL(NAME)(fd, data, size, at);                                           \
        if (done > 0)                                                                                                  \
            note(WRITE, of(fd), NULL, data, done, at);                                                                 \
        pthread_mutex_unlock(&mutex);                                                                                  \
        return done;                                                                                                   \
    }

ssize_t pwrite(int fd, const void *data, size_t size, off_t at) PWRITE(pwrite)
ssize_t pwrite64(int fd, const void *data, size_t size, off64_t at) PWRITE(pwrite64)

#define TRUNCATION(NAME)                                                                                               \
    {                                                                                                                  \
        if (!of(fd))                                                                                                   \
            return REAL(NAME)(fd, size);                                                                               \
        pthread_mutex_lock(&mutex);                                                                                    \
        int result = fails("truncate", fd) ? -1 : REAL(NAME)(fd, size);                                                    \
        if (!result)                                                                                                   \
            note(TRUNCATE, of(fd), NULL, NULL, 0, size);                                                               \
        pthread_mutex_unlock(&mutex);                                                                                  \
        return result;                                                                                                 \
    }

int ftruncate(int fd, off_t size) TRUNCATION(ftruncate)
int ftruncate64(int fd, off64_t size) TRUNCATION(ftruncate64)

#define SYNCING(NAME)                                                                                                  \
    {                                                                                                                  \
        if (!of(fd))                                                                                                   \
            return REAL(NAME)(fd);                                                                                     \
        pthread_mutex_lock(&mutex);                                                                                    \
        int failed = fails("fsync", fd);                                                                                   \
        note(failed ? SYNC_FAILED : SYNC, of(fd), NULL, NULL, 0, 0);                                                   \
        pthread_mutex_unlock(&mutex);                                                                                  \
        return failed ? -1 : 0; /* the disk is a model: nothing needs to reach the real one */                         \
    }

int fsync(int fd) SYNCING(fsync)
int fdatasync(int fd) SYNCING(fdatasync)

#define NAMES(KIND, CALL, PATH, OTHER)                                                                                 \
    {                                                                                                                  \
        pthread_mutex_lock(&mutex);                                                                                    \
        int result = CALL;                                                                                             \
        if (!result && below(PATH))                                                                                    \
            note(KIND, below(PATH), OTHER ? below(OTHER) : NULL, NULL, 0, 0);                                          \
        pthread_mutex_unlock(&mutex);                                                                                  \
        return result;                                                                                                 \
    }

int rename(const char *path, const char *other) NAMES(RENAME, REAL(rename)(path, other), path, other)
int unlink(const char *path) NAMES(UNLINK, REAL(unlink)(path), path, (const char *) NULL)
int rmdir(const char *path) NAMES(RMDIR, REAL(rmdir)(path), path, (const char *) NULL)
int mkdir(const char *path, mode_t mode) NAMES(MKDIR, REAL(mkdir)(path, mode), path, (const char *) NULL)
