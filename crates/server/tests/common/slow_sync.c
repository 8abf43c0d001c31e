/* Preloaded into the server: each sync takes SLOW_SYNC_MS longer while the file SLOW_SYNC_WHILE is there. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <stdlib.h>
#include <unistd.h>

static void wait_a_while(void) {
    const char *file = getenv("SLOW_SYNC_WHILE"), *ms = getenv("SLOW_SYNC_MS");
    if (file && ms && access(file, F_OK) == 0) {
        usleep((useconds_t) atoi(ms) * 1000);
    }
}

int fdatasync(int fd) {
    wait_a_while();
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fdatasync"))(fd);
}

int fsync(int fd) {
    wait_a_while();
    return ((int (*)(int)) dlsym(RTLD_NEXT, "fsync"))(fd);
}
