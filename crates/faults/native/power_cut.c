/* power_cut FOLDER: shuts the ext4 file system of FOLDER down at once, without flushing its journal. */
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>

#define EXT4_IOC_SHUTDOWN _IOR('X', 125, uint32_t)
#define NO_LOG_FLUSH 2u

int main(int argc, char **argv) {
    uint32_t flags = NO_LOG_FLUSH;
    int folder = argc == 2 ? open(argv[1], O_RDONLY | O_DIRECTORY) : -1;
    if (folder < 0 || ioctl(folder, EXT4_IOC_SHUTDOWN, &flags) != 0) {
        fprintf(stderr, "power_cut: %s\n", strerror(errno));
        return 1;
    }
    return 0;
}
