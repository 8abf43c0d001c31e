/* Preloaded into a server: the FAULT_AT-th sync of a file below FAULT_UNDER fails with EIO, and what it should
 * have written counts as gone: later syncs of that file do nothing and succeed, as Linux has it for pages whose
 * writing failed. FAULT_REPORT gets a line "failed PATH" and a line "again PATH" for each later sync. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

static pthread_mutex_t turn = PTHREAD_MUTEX_INITIALIZER;
static long syncs;
static dev_t broken_device;
static ino_t broken_inode;

static void report(const char *word, const char *path) {
    char line[4200];
    const char *file = getenv("FAULT_REPORT");
    int out = file ? open(file, O_WRONLY | O_CREAT | O_APPEND, 0644) : -1;
    if (out >= 0) {
        int length = snprintf(line, sizeof line, "%s %s\n", word, path);
        if (write(out, line, (size_t) length) < 0) { /* Nobody to tell. */ }
        close(out);
    }
}

/* -1: the sync fails; 1: it is left out; 0: it goes on. */
static int judge(const char *path) {
    const char *under = getenv("FAULT_UNDER"), *at = getenv("FAULT_AT");
    struct stat file;
    int verdict = 0;
    if (!under || !at || strncmp(path, under, strlen(under)) != 0 || stat(path, &file) != 0) {
        return 0;
    }
    pthread_mutex_lock(&turn);
    if (broken_inode) {
        verdict = file.st_dev == broken_device && file.st_ino == broken_inode;
    } else if (++syncs == atol(at)) {
        broken_device = file.st_dev;
        broken_inode = file.st_ino;
        /* Stays open: no file that is made later shall get its number. */
        open(path, O_RDONLY | O_CLOEXEC);
        verdict = -1;
    }
    pthread_mutex_unlock(&turn);
    if (verdict) {
        report(verdict < 0 ? "failed" : "again", path);
    }
    return verdict;
}

static int judge_file(int fd) {
    char link[64], path[4096];
    snprintf(link, sizeof link, "/proc/self/fd/%d", fd);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length < 0) {
        return 0;
    }
    path[length] = 0;
    return judge(path);
}

static int judge_map(const void *address) {
    char line[4400];
    int verdict = 0;
    FILE *maps = fopen("/proc/self/maps", "r");
    while (maps && fgets(line, sizeof line, maps)) {
        uintptr_t from, to;
        char *path = strchr(line, '/');
        if (path && sscanf(line, "%lx-%lx", &from, &to) == 2 && (uintptr_t) address >= from && (uintptr_t) address < to) {
            path[strcspn(path, "\n")] = 0;
            verdict = judge(path);
            break;
        }
    }
    if (maps) {
        fclose(maps);
    }
    return verdict;
}

#define FAIL_OR_LEAVE_OUT(verdict) \
    switch (verdict) { \
        case -1: errno = EIO; return -1; \
        case 1: return 0; \
    }

int fdatasync(int fd) {
    FAIL_OR_LEAVE_OUT(judge_file(fd))
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
    FAIL_OR_LEAVE_OUT(judge_file(fd))
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}

int msync(void *address, size_t length, int flags) {
    FAIL_OR_LEAVE_OUT(judge_map(address))
    return ((int (*)(void *, size_t, int)) dlsym(RTLD_NEXT, "msync"))(address, length, flags);
}
