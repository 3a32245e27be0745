/* Flips a bit of every byte of a range of a device or file, which dd cannot do to a device.
 *
 *	poke PATH OFFSET LENGTH
 */
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#define FRAME (2ull << 20)

int main(int argc, char **argv)
{
	unsigned long long off, len, align = 1ull << 30, map_len;
	uint8_t *p = MAP_FAILED;
	int fd;

	if (argc != 4) {
		fprintf(stderr, "usage: poke PATH OFFSET LENGTH\n");
		return 2;
	}
	off = strtoull(argv[2], NULL, 0);
	len = strtoull(argv[3], NULL, 0);
	fd = open(argv[1], O_RDWR | O_CLOEXEC);
	/* from the beginning, to a multiple of what the device is aligned to: the smaller one will do, or the larger */
	for (align = FRAME; fd >= 0 && p == MAP_FAILED && align <= 1ull << 30; align *= 512) {
		map_len = (off + len + align - 1) / align * align;
		p = mmap(NULL, map_len, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	}
	if (p == MAP_FAILED) {
		perror(argv[1]);
		return 1;
	}
	for (unsigned long long i = 0; i < len; i++)
		p[off + i] ^= 0x10;
	munmap(p, map_len);
	close(fd);
	return 0;
}
