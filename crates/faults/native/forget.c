/* forget FILE FROM IMAGE: IMAGE, the disk of FILE's file system, loses what FILE has from offset FROM on, and the
 * system goes on to show it: so it is after a sync of FILE that failed. FILE must have been synced before. */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/fiemap.h>
#include <linux/fs.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#define EXTENTS 64

static int fail(const char *what) {
    fprintf(stderr, "forget: %s: %s\n", what, strerror(errno));
    return 1;
}

static int put_zeros(int image, uint64_t at, uint64_t length) {
    static const char zeros[1 << 16];
    while (length > 0) {
        size_t step = length < sizeof zeros ? length : sizeof zeros;
        ssize_t written = pwrite(image, zeros, step, (off_t) at);
        if (written <= 0) {
            return -1;
        }
        at += (uint64_t) written;
        length -= (uint64_t) written;
    }
    return 0;
}

int main(int argc, char **argv) {
    if (argc != 4) {
        fprintf(stderr, "forget: FILE FROM IMAGE\n");
        return 2;
    }
    uint64_t from = strtoull(argv[2], NULL, 10);
    int file = open(argv[1], O_RDONLY), image = open(argv[3], O_WRONLY);
    if (file < 0 || image < 0) {
        return fail("cannot open");
    }
    struct fiemap *map = calloc(1, sizeof *map + EXTENTS * sizeof map->fm_extents[0]);
    for (int last = !map; !last;) {
        map->fm_start = from;
        map->fm_length = FIEMAP_MAX_OFFSET - from;
        map->fm_extent_count = EXTENTS;
        if (ioctl(file, FS_IOC_FIEMAP, map) != 0) {
            return fail("cannot find the extents");
        }
        last = map->fm_mapped_extents == 0;
        for (unsigned i = 0; i < map->fm_mapped_extents; i++) {
            struct fiemap_extent *extent = &map->fm_extents[i];
            uint64_t end = extent->fe_logical + extent->fe_length;
            uint64_t begin = extent->fe_logical > from ? extent->fe_logical : from;
            if (put_zeros(image, extent->fe_physical + (begin - extent->fe_logical), end - begin) != 0) {
                return fail("cannot write");
            }
            last |= extent->fe_flags & FIEMAP_EXTENT_LAST;
            from = end;
        }
    }
    return fsync(image) == 0 ? 0 : fail("cannot sync");
}
