// SPDX-License-Identifier: GPL-2.0-only
/*
 * chainrace: write into the answer that one loop driver gets from another.
 *
 *	chainrace DEVICE THEIRS MAJOR MINOR SECONDS
 *
 * Asks for DEVICE to be bound to THEIRS, a device of the other driver, again and
 * again. Another thread writes MAJOR and MINOR to where a struct loop_info64 that is
 * mapped for the length of such a call has the device number. Prints how many calls
 * there were, and how often something was mapped there.
 *
 * The flags of the request are bad ones, which is found out last: nothing is bound.
 *
 * link: -lpthread
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/loop.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

static volatile int stop;
static unsigned long hits;
static off_t target;
static uint64_t number;

static void *writer(void *unused)
{
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);

	(void)unused;
	while (!stop)
		if (pwrite(mem, &number, sizeof(number), target) > 0)
			hits++;
	close(mem);
	return NULL;
}

int main(int argc, char **argv)
{
	struct loop_config config = { .info.lo_flags = 1 << 30 };
	unsigned int major, minor;
	unsigned long calls = 0;
	pthread_t thread;
	time_t end;
	void *hole;
	int dev;

	if (argc != 6) {
		fprintf(stderr, "usage: chainrace DEVICE THEIRS MAJOR MINOR SECONDS\n");
		return 2;
	}
	dev = open(argv[1], O_RDWR | O_CLOEXEC);
	config.fd = open(argv[2], O_RDWR | O_CLOEXEC);
	if (dev < 0 || (int)config.fd < 0) {
		perror("open");
		return 1;
	}
	major = atoi(argv[3]);
	minor = atoi(argv[4]);
	/* huge_encode_dev() of the kernel */
	number = (minor & 0xff) | (major << 8) | ((minor & ~0xffu) << 12);

	/* The thread's memory is there before the place of the next mapping is known. */
	target = 4096;
	if (pthread_create(&thread, NULL, writer, NULL))
		return 1;
	usleep(100000);
	hole = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	if (hole == MAP_FAILED)
		return 1;
	munmap(hole, 4096);
	target = (off_t)hole + offsetof(struct loop_info64, lo_rdevice);

	for (end = time(NULL) + atoi(argv[5]); time(NULL) < end; calls++)
		if (!ioctl(dev, LOOP_CONFIGURE, &config)) {
			fprintf(stderr, "bound, with bad flags\n");
			return 1;
		}
	stop = 1;
	pthread_join(thread, NULL);
	printf("%lu %lu\n", calls, hits);
	return 0;
}
