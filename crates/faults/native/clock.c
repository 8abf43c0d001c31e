/* Preloaded into a server: its wall clock is off by what the file CLOCK_STEP says, a number of milliseconds as text in
 * at most 31 bytes, which may change at any time. The file is looked at each 10 ms. The clocks that only go forward stay
 * right, as on a machine whose time somebody sets. */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static int (*real_clock)(clockid_t, struct timespec *);
static _Atomic long long step_ns, look_at;

static void find(void) {
    if (!real_clock) {
        real_clock = (int (*)(clockid_t, struct timespec *)) dlsym(RTLD_NEXT, "clock_gettime");
    }
}

static long long step(void) {
    struct timespec steady;
    real_clock(CLOCK_MONOTONIC, &steady);
    long long at = steady.tv_sec * 1000LL + steady.tv_nsec / 1000000;
    if (at >= look_at) {
        const char *path = getenv("CLOCK_STEP");
        int file = path ? open(path, O_RDONLY | O_CLOEXEC) : -1;
        char text[32] = {0};
        look_at = at + 10;
        if (file >= 0) {
            if (read(file, text, sizeof text - 1) > 0) {
                step_ns = atoll(text) * 1000000;
            }
            close(file);
        }
    }
    return step_ns;
}

int clock_gettime(clockid_t clock, struct timespec *time) {
    find();
    int result = real_clock(clock, time);
    if (result == 0 && (clock == CLOCK_REALTIME || clock == CLOCK_REALTIME_COARSE)) {
        long long at = time->tv_sec * 1000000000LL + time->tv_nsec + step();
        time->tv_sec = at / 1000000000;
        time->tv_nsec = at % 1000000000;
    }
    return result;
}

int gettimeofday(struct timeval *restrict time, void *restrict zone) {
    struct timespec exact;
    (void) zone;
    int result = clock_gettime(CLOCK_REALTIME, &exact);
    time->tv_sec = exact.tv_sec;
    time->tv_usec = exact.tv_nsec / 1000;
    return result;
}

time_t time(time_t *to) {
    struct timespec exact;
    clock_gettime(CLOCK_REALTIME, &exact);
    if (to) {
        *to = exact.tv_sec;
    }
    return exact.tv_sec;
}
