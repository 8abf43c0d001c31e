/* switch SEED NAME=ADDRESS...: the network between hosts that are network namespaces. Makes a TUN device for each
 * host (whoever started this moves it into the host's namespace) and says "ready"; then it carries IP packets from
 * one to the other. A line "FROM TO CUT DELAY JITTER LOSS RATE" on the standard input decides what becomes of the
 * packets from one host to another from now on: CUT 1 drops all of them, DELAY and JITTER are microseconds, LOSS is
 * in a million, RATE bytes per second (0: no limit). Each line is answered with "ok". Ends with its standard input.
 * Kernels without netem are many; and here the dice have a seed. */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <poll.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define HOSTS 16
#define LONGEST 65536
/* Packets under way from one host to another; more are dropped, as a full queue of a router does. */
#define WAITING 4000

struct packet {
    struct packet *next;
    uint64_t due;
    size_t length;
    unsigned char bytes[];
};

struct way {
    int is_cut;
    uint64_t delay, jitter, loss, rate;
    /* When the last one has left, with a RATE; when the last one arrives: they stay in order. */
    uint64_t free_at, last_due;
    struct packet *first, *last;
    int waiting;
};

static struct way ways[HOSTS][HOSTS];
static int devices[HOSTS], count;
static uint32_t addresses[HOSTS];
static uint64_t dice;

static uint64_t now(void) {
    struct timespec time;
    clock_gettime(CLOCK_MONOTONIC, &time);
    return (uint64_t) time.tv_sec * 1000000 + (uint64_t) time.tv_nsec / 1000;
}

static uint64_t below(uint64_t end) {
    dice ^= dice << 13;
    dice ^= dice >> 7;
    dice ^= dice << 17;
    return end ? dice % end : 0;
}

static int fail(const char *what) {
    fprintf(stderr, "switch: %s: %s\n", what, strerror(errno));
    return 1;
}

static int make_device(const char *name) {
    struct ifreq request = {.ifr_flags = IFF_TUN | IFF_NO_PI};
    int device = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);
    if (device < 0) {
        return -1;
    }
    strncpy(request.ifr_name, name, IFNAMSIZ - 1);
    return ioctl(device, TUNSETIFF, &request) == 0 ? device : -1;
}

static void deliver(int to, const unsigned char *bytes, size_t length) {
    if (write(devices[to], bytes, length) < 0) { /* A host that is being taken down: its packets are lost. */ }
}

static void carry(int from, const unsigned char *bytes, size_t length) {
    uint32_t address;
    int to = 0;
    if (length < 20 || bytes[0] >> 4 != 4) {
        return;
    }
    memcpy(&address, bytes + 16, 4);
    while (to < count && addresses[to] != address) {
        to++;
    }
    if (to == count) {
        return;
    }
    struct way *way = &ways[from][to];
    if (way->is_cut || below(1000000) < way->loss) {
        return;
    }
    if (!way->delay && !way->jitter && !way->rate && !way->first) {
        deliver(to, bytes, length);
        return;
    }
    struct packet *packet = way->waiting < WAITING ? malloc(sizeof *packet + length) : NULL;
    if (!packet) {
        return;
    }
    uint64_t leaves = now();
    if (way->rate) {
        leaves = (way->free_at > leaves ? way->free_at : leaves) + length * 1000000 / way->rate;
        way->free_at = leaves;
    }
    packet->due = leaves + way->delay + below(way->jitter);
    if (packet->due < way->last_due) {
        packet->due = way->last_due;
    }
    way->last_due = packet->due;
    packet->next = NULL;
    packet->length = length;
    memcpy(packet->bytes, bytes, length);
    if (way->last) {
        way->last->next = packet;
    } else {
        way->first = packet;
    }
    way->last = packet;
    way->waiting++;
}

/* Delivers what is due; returns microseconds until more is, or -1. */
static int64_t deliver_due(void) {
    int64_t next = -1;
    uint64_t moment = now();
    for (int from = 0; from < count; from++) {
        for (int to = 0; to < count; to++) {
            struct way *way = &ways[from][to];
            while (way->first && way->first->due <= moment) {
                struct packet *packet = way->first;
                way->first = packet->next;
                if (!way->first) {
                    way->last = NULL;
                }
                way->waiting--;
                /* What was under way when the line was cut does not arrive. */
                if (!way->is_cut) {
                    deliver(to, packet->bytes, packet->length);
                }
                free(packet);
            }
            if (way->first && (next < 0 || (int64_t) (way->first->due - moment) < next)) {
                next = (int64_t) (way->first->due - moment);
            }
        }
    }
    return next;
}

/* Whether there is more to come. */
static int obey(void) {
    static char line[256];
    static size_t filled;
    ssize_t got = read(0, line + filled, sizeof line - 1 - filled);
    if (got <= 0) {
        return got < 0 && errno == EINTR;
    }
    filled += (size_t) got;
    line[filled] = 0;
    for (char *end; (end = strchr(line, '\n')); ) {
        unsigned from, to;
        struct way rules = {0};
        if (sscanf(line, "%u %u %d %lu %lu %lu %lu", &from, &to, &rules.is_cut, &rules.delay, &rules.jitter,
                   &rules.loss, &rules.rate) != 7 || from >= (unsigned) count || to >= (unsigned) count) {
            fprintf(stderr, "switch: what is %s\n", line);
            return 0;
        }
        struct way *way = &ways[from][to];
        way->is_cut = rules.is_cut;
        way->delay = rules.delay;
        way->jitter = rules.jitter;
        way->loss = rules.loss;
        way->rate = rules.rate;
        puts("ok");
        fflush(stdout);
        filled -= (size_t) (end + 1 - line);
        memmove(line, end + 1, filled + 1);
    }
    return filled < sizeof line - 1;
}

int main(int argc, char **argv) {
    static unsigned char bytes[LONGEST];
    struct pollfd waits[HOSTS + 1] = {{.fd = 0, .events = POLLIN}};
    if (argc < 3 || argc - 2 > HOSTS) {
        fprintf(stderr, "switch: SEED NAME=ADDRESS..., at most %d\n", HOSTS);
        return 2;
    }
    /* A seed of 0 would roll nothing but 0. */
    dice = strtoull(argv[1], NULL, 10) * 2 + 1;
    for (; count < argc - 2; count++) {
        char *address = strchr(argv[count + 2], '=');
        if (!address || inet_pton(AF_INET, address + 1, &addresses[count]) != 1) {
            fprintf(stderr, "switch: %s is no NAME=ADDRESS\n", argv[count + 2]);
            return 2;
        }
        *address = 0;
        devices[count] = make_device(argv[count + 2]);
        if (devices[count] < 0) {
            return fail(argv[count + 2]);
        }
        waits[count + 1] = (struct pollfd) {.fd = devices[count], .events = POLLIN};
    }
    puts("ready");
    fflush(stdout);
    for (;;) {
        int64_t next = deliver_due();
        struct timespec patience = {.tv_sec = next / 1000000, .tv_nsec = next % 1000000 * 1000};
        if (ppoll(waits, (nfds_t) count + 1, next < 0 ? NULL : &patience, NULL) < 0 && errno != EINTR) {
            return fail("cannot wait");
        }
        if (waits[0].revents && !obey()) {
            return 0;
        }
        for (int from = 0; from < count; from++) {
            /* Some at a time, so that no host is left waiting for another. */
            for (int nth = 0; waits[from + 1].revents & POLLIN && nth < 64; nth++) {
                ssize_t length = read(devices[from], bytes, sizeof bytes);
                if (length < 0) {
                    break;
                }
                carry(from, bytes, (size_t) length);
            }
        }
    }
}
