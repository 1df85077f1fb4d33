// SPDX-License-Identifier: GPL-2.0-only
/*
 * Memory that is taken, and that has to read back right.
 *
 *   memfill fill TOTAL KEEP	fill TOTAL MiB, check and free all but KEEP of them, say
 *				"ready", wait for a line, check the rest, say "right"
 *   memfill out TOTAL		fill TOTAL MiB, say "ready", wait for a line, page them out,
 *				say "out", wait for a line, check all, say "right"
 *   memfill lock MIB		lock so many MiB, say "ready", wait for a line
 *
 * Exit code 1: a page is not what it was, or there is no memory.
 */
#define _GNU_SOURCE
#include <err.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#define MIB (1UL << 20)
#define PAGE 4096UL

static uint64_t word(size_t page, size_t i)
{
	return (page + 1) * 0x9e3779b97f4a7c15ULL + i * 0xbf58476d1ce4e5b9ULL;
}

static void fill(char *mem, size_t from, size_t to)
{
	for (size_t page = from / PAGE; page < to / PAGE; page++) {
		uint64_t *p = (uint64_t *)(mem + page * PAGE);

		for (size_t i = 0; i < PAGE / sizeof(*p); i++)
			p[i] = word(page, i);
	}
}

static void check(char *mem, size_t from, size_t to)
{
	for (size_t page = from / PAGE; page < to / PAGE; page++) {
		uint64_t *p = (uint64_t *)(mem + page * PAGE);

		for (size_t i = 0; i < PAGE / sizeof(*p); i++)
			if (p[i] != word(page, i))
				errx(1, "page %zu, word %zu: %#llx, not %#llx",
				     page, i, (unsigned long long)p[i],
				     (unsigned long long)word(page, i));
	}
}

static void say_and_wait(const char *what)
{
	puts(what);
	fflush(stdout);
	getchar();
}

static void fill_and_keep(char *mem, size_t total, size_t keep)
{
	fill(mem, 0, total);
	for (size_t at = keep; at < total; at += MIB) {
		check(mem, at, at + MIB);
		if (munmap(mem + at, MIB))
			err(1, "munmap");
	}
	say_and_wait("ready");
	check(mem, 0, keep);
	puts("right");
}

static void fill_and_page_out(char *mem, size_t total)
{
	fill(mem, 0, total);
	say_and_wait("ready");
	if (madvise(mem, total, MADV_PAGEOUT))
		err(1, "MADV_PAGEOUT");
	say_and_wait("out");
	check(mem, 0, total);
	puts("right");
}

int main(int argc, char **argv)
{
	size_t total = argc > 2 ? strtoul(argv[2], NULL, 10) * MIB : 0;
	size_t keep = argc > 3 ? strtoul(argv[3], NULL, 10) * MIB : 0;
	char *mem;

	if (!total || keep > total)
		errx(2, "usage: memfill fill TOTAL KEEP | out TOTAL | lock MIB");

	mem = mmap(NULL, total, PROT_READ | PROT_WRITE,
		   MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	if (mem == MAP_FAILED)
		err(1, "mmap");
	/* Pages that are alone may be swapped one by one. */
	madvise(mem, total, MADV_NOHUGEPAGE);

	if (!strcmp(argv[1], "fill")) {
		fill_and_keep(mem, total, keep);
	} else if (!strcmp(argv[1], "out")) {
		fill_and_page_out(mem, total);
	} else {
		if (mlock(mem, total))
			err(1, "mlock");
		say_and_wait("ready");
	}
	return 0;
}
