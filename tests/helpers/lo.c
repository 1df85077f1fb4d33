// SPDX-License-Identifier: GPL-2.0-only
/*
 * lo: drive a loop device one system call at a time.
 *
 *	lo [-n ROUNDS] STEP [, STEP]...
 *
 * All steps run in one process, in order. Each prints one word: "ok" or the
 * value it asked for, or the name of the errno. A failed step does not stop the
 * ones after it: the caller compares the whole line. With -n the list is run
 * ROUNDS times, stops at the first errno, and prints the words of the last round.
 * A step may begin with the errno it has to end with, as in "!ENXIO get64 off":
 * that outcome is "ok", any other one is EPROTO.
 * "again STEP" does it again until it succeeds, for ten seconds. "fail_nth N STEP"
 * has the kernel's Nth allocation of that step fail (needs fault injection); it
 * ends with ENODATA if the step makes fewer of them.
 *
 * An "@" in an argument stands for a number from 1 to 250 that is another one in
 * each round.
 *
 * Built a second time as a 32-bit program, for the compat ioctls.
 *
 * A file descriptor lives in a slot (a number, 0 unless given); "on SLOT" makes
 * another one current. BACKING is a path, or one of ro:PATH wo:PATH direct:PATH
 * dsync:PATH append:PATH path:PATH fd:NUMBER self. Numbers may be in hexadecimal.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <linux/blkpg.h>
#include <linux/falloc.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#ifndef LOOP_CONFIGURE
#error "linux/loop.h is too old"
#endif

#define SLOTS 8
#define BUF_ALIGN 65536

static int slot_fd[SLOTS];
static int cur;
static void *mapped;
static size_t mapped_len;

static int fd(void)
{
	return slot_fd[cur];
}

static void die(const char *what)
{
	fprintf(stderr, "lo: %s\n", what);
	exit(2);
}

static uint64_t num(const char *s)
{
	char *end;
	uint64_t v;

	if (!s)
		die("a number is missing");
	v = strtoull(s, &end, 0);
	if (*end)
		die("not a number");
	return v;
}

static char *arg(char **a, int i)
{
	int n;

	for (n = 0; n <= i; n++)
		if (!a[n])
			die("an argument is missing");
	return a[i];
}

/* Outcome of a system call: 0 or -errno. */
static int res(int ret)
{
	return ret < 0 ? -errno : 0;
}

static char value[256];

static int val(uint64_t v)
{
	snprintf(value, sizeof(value), "%llu", (unsigned long long)v);
	return 0;
}

static int word(const char *s)
{
	snprintf(value, sizeof(value), "%s", *s ? s : "-");
	return 0;
}

static int open_backing(const char *spec)
{
	static const struct {
		const char *prefix;
		int flags;
	} how[] = {
		{ "ro:", O_RDONLY },
		{ "wo:", O_WRONLY },
		{ "direct:", O_RDWR | O_DIRECT },
		{ "dsync:", O_RDWR | O_DSYNC },
		{ "append:", O_RDWR | O_APPEND },
		{ "path:", O_PATH },
	};
	size_t i;
	int f;

	if (!strcmp(spec, "self"))
		return fd();
	if (!strncmp(spec, "fd:", 3))
		return atoi(spec + 3);
	for (i = 0; i < sizeof(how) / sizeof(how[0]); i++) {
		size_t len = strlen(how[i].prefix);

		if (strncmp(spec, how[i].prefix, len))
			continue;
		f = open(spec + len, how[i].flags | O_CLOEXEC);
		goto opened;
	}
	f = open(spec, O_RDWR | O_CLOEXEC);
opened:
	if (f < 0)
		die("cannot open the backing file");
	return f;
}

static void close_backing(const char *spec, int f)
{
	if (strcmp(spec, "self") && strncmp(spec, "fd:", 3))
		close(f);
}

/* Returns 1 and points v behind "KEY=" if s begins with it. */
static int key(const char *s, const char *k, const char **v)
{
	size_t len = strlen(k);

	if (strncmp(s, k, len) || s[len] != '=')
		return 0;
	*v = s + len + 1;
	return 1;
}

static void info64_arg(struct loop_info64 *info, const char *s)
{
	const char *v;

	if (key(s, "off", &v))
		info->lo_offset = num(v);
	else if (key(s, "limit", &v))
		info->lo_sizelimit = num(v);
	else if (key(s, "flags", &v))
		info->lo_flags = num(v);
	else if (key(s, "enc", &v))
		info->lo_encrypt_type = num(v);
	else if (key(s, "keysize", &v))
		info->lo_encrypt_key_size = num(v);
	else if (key(s, "name", &v))
		memcpy(info->lo_file_name, v,
		       strnlen(v, sizeof(info->lo_file_name)));
	else
		die("unknown key");
}

static int do_configure(char **a)
{
	struct loop_config c = { 0 };
	const char *v;
	int i, ret;

	for (i = 1; a[i]; i++) {
		if (key(a[i], "bs", &v))
			c.block_size = num(v);
		else if (key(a[i], "reserved", &v))
			c.__reserved[num(v)] = 1;
		else
			info64_arg(&c.info, a[i]);
	}
	c.fd = open_backing(arg(a, 0));
	ret = res(ioctl(fd(), LOOP_CONFIGURE, &c));
	close_backing(a[0], c.fd);
	return ret;
}

static int with_backing(unsigned long cmd, char **a)
{
	int f = open_backing(arg(a, 0));
	int ret = res(ioctl(fd(), cmd, (unsigned long)f));

	close_backing(a[0], f);
	return ret;
}

static int do_set_fd(char **a)
{
	return with_backing(LOOP_SET_FD, a);
}

static int do_change_fd(char **a)
{
	return with_backing(LOOP_CHANGE_FD, a);
}

static int do_clr_fd(char **a)
{
	(void)a;
	return res(ioctl(fd(), LOOP_CLR_FD, 0));
}

static int do_set64(char **a)
{
	struct loop_info64 info = { 0 };
	int i;

	for (i = 0; a[i]; i++)
		info64_arg(&info, a[i]);
	return res(ioctl(fd(), LOOP_SET_STATUS64, &info));
}

static int do_get64(char **a)
{
	struct loop_info64 info;
	const char *f = arg(a, 0);

	memset(&info, 0xee, sizeof(info));
	if (ioctl(fd(), LOOP_GET_STATUS64, &info))
		return -errno;
	if (!strcmp(f, "off"))
		return val(info.lo_offset);
	if (!strcmp(f, "limit"))
		return val(info.lo_sizelimit);
	if (!strcmp(f, "flags"))
		return val(info.lo_flags);
	if (!strcmp(f, "number"))
		return val(info.lo_number);
	if (!strcmp(f, "enc"))
		return val(info.lo_encrypt_type);
	if (!strcmp(f, "dev"))
		return val(info.lo_device);
	if (!strcmp(f, "ino"))
		return val(info.lo_inode);
	if (!strcmp(f, "rdev"))
		return val(info.lo_rdevice);
	if (!strcmp(f, "name"))
		return word((char *)info.lo_file_name);
	die("unknown field");
	return 0;
}

/* The old form. Its field widths are those of the program, hence lo32. */
static int do_set(char **a)
{
	struct loop_info info = { 0 };
	const char *v;
	int i;

	for (i = 0; a[i]; i++) {
		if (key(a[i], "off", &v))
			info.lo_offset = num(v);
		else if (key(a[i], "flags", &v))
			info.lo_flags = num(v);
		else if (key(a[i], "enc", &v))
			info.lo_encrypt_type = num(v);
		else if (key(a[i], "name", &v))
			memcpy(info.lo_name, v,
			       strnlen(v, sizeof(info.lo_name)));
		else
			die("unknown key");
	}
	return res(ioctl(fd(), LOOP_SET_STATUS, &info));
}

static int do_get(char **a)
{
	struct loop_info info;
	const char *f = arg(a, 0);

	memset(&info, 0xee, sizeof(info));
	if (ioctl(fd(), LOOP_GET_STATUS, &info))
		return -errno;
	if (!strcmp(f, "off"))
		return val((unsigned int)info.lo_offset);
	if (!strcmp(f, "flags"))
		return val(info.lo_flags);
	if (!strcmp(f, "number"))
		return val(info.lo_number);
	if (!strcmp(f, "ino"))
		return val(info.lo_inode);
	if (!strcmp(f, "name"))
		return word(info.lo_name);
	die("unknown field");
	return 0;
}

static int do_set_capacity(char **a)
{
	(void)a;
	return res(ioctl(fd(), LOOP_SET_CAPACITY, 0));
}

static int do_set_dio(char **a)
{
	return res(ioctl(fd(), LOOP_SET_DIRECT_IO,
			 (unsigned long)num(arg(a, 0))));
}

static int do_set_bs(char **a)
{
	return res(ioctl(fd(), LOOP_SET_BLOCK_SIZE,
			 (unsigned long)num(arg(a, 0))));
}

/* ioctl with a number for an argument; its result is the value. */
static int ioctl_value(unsigned long cmd, long v)
{
	int ret = ioctl(fd(), cmd, v);

	return ret < 0 ? -errno : val(ret);
}

static int do_add(char **a)
{
	return ioctl_value(LOOP_CTL_ADD, atol(arg(a, 0)));
}

static int do_remove(char **a)
{
	return ioctl_value(LOOP_CTL_REMOVE, atol(arg(a, 0)));
}

static int do_get_free(char **a)
{
	(void)a;
	return ioctl_value(LOOP_CTL_GET_FREE, 0);
}

static int do_ioctl(char **a)
{
	return ioctl_value(num(arg(a, 0)), a[1] ? (long)num(a[1]) : 0);
}

/* open PATH [FLAGS [SLOT]]: letters r w x(O_EXCL) d(O_DIRECT) s(O_DSYNC). */
static int do_open(char **a)
{
	const char *how = a[0] && a[1] ? a[1] : "rw";
	int slot = a[0] && a[1] && a[2] ? (int)num(a[2]) : 0;
	int flags = O_CLOEXEC;
	int f;

	if (strchr(how, 'w'))
		flags |= strchr(how, 'r') ? O_RDWR : O_WRONLY;
	if (strchr(how, 'x'))
		flags |= O_EXCL;
	if (strchr(how, 'd'))
		flags |= O_DIRECT;
	if (strchr(how, 's'))
		flags |= O_DSYNC;
	if (slot < 0 || slot >= SLOTS)
		die("no such slot");
	f = open(arg(a, 0), flags);
	if (f < 0)
		return -errno;
	slot_fd[slot] = f;
	cur = slot;
	return 0;
}

static int do_on(char **a)
{
	cur = num(arg(a, 0)) % SLOTS;
	return 0;
}

static int do_close(char **a)
{
	int slot = a[0] ? (int)(num(a[0]) % SLOTS) : cur;
	int ret = res(close(slot_fd[slot]));

	slot_fd[slot] = -1;
	return ret;
}

static unsigned char *buffer(size_t len)
{
	void *p;

	if (posix_memalign(&p, BUF_ALIGN, len ? len : 1))
		die("no memory");
	return p;
}

/* pwrite OFF LEN BYTE: one write; a short one prints its count. */
static int do_pwrite(char **a)
{
	off_t off = num(arg(a, 0));
	size_t len = num(arg(a, 1));
	unsigned char *b = buffer(len);
	ssize_t n;

	memset(b, num(arg(a, 2)), len);
	n = pwrite(fd(), b, len, off);
	if (n < 0)
		n = -errno;
	free(b);
	if (n < 0)
		return n;
	return (size_t)n == len ? 0 : val(n);
}

/* pread OFF LEN: the byte all of it consists of, or "mixed"; "short" if cut. */
static int do_pread(char **a)
{
	off_t off = num(arg(a, 0));
	size_t len = num(arg(a, 1)), i;
	unsigned char *b = buffer(len);
	ssize_t n = pread(fd(), b, len, off);
	int ret;

	if (n < 0)
		ret = -errno;
	else if ((size_t)n != len)
		ret = word("short");
	else {
		for (i = 1; i < len && b[i] == b[0]; i++)
			;
		ret = i < len ? word("mixed") : val(b[0]);
	}
	free(b);
	return ret;
}

/* count BYTE: how many bytes of the current file have this value. */
static int do_count(char **a)
{
	unsigned char want = num(arg(a, 0));
	unsigned char *b = buffer(1 << 20);
	uint64_t found = 0;
	off_t off = 0;
	ssize_t n, i;

	while ((n = pread(fd(), b, 1 << 20, off)) > 0) {
		for (i = 0; i < n; i++)
			found += b[i] == want;
		off += n;
	}
	free(b);
	return n < 0 ? -errno : val(found);
}

static int do_fsync(char **a)
{
	(void)a;
	return res(fsync(fd()));
}

/* map OFF LEN BYTE: fill through a shared mapping that stays. */
static int do_map(char **a)
{
	mapped_len = num(arg(a, 1));
	mapped = mmap(NULL, mapped_len, PROT_READ | PROT_WRITE, MAP_SHARED,
		      fd(), num(arg(a, 0)));
	if (mapped == MAP_FAILED) {
		mapped = NULL;
		return -errno;
	}
	memset(mapped, num(arg(a, 2)), mapped_len);
	return 0;
}

static int do_msync(char **a)
{
	(void)a;
	return res(msync(mapped, mapped_len, MS_SYNC));
}

static int do_unmap(char **a)
{
	(void)a;
	return res(munmap(mapped, mapped_len));
}

/* falloc punch|zero|discard|plain OFF LEN */
static int do_falloc(char **a)
{
	const char *m = arg(a, 0);
	int mode = 0;

	if (!strcmp(m, "punch"))
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
	else if (!strcmp(m, "zero"))
		mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;
	else if (!strcmp(m, "discard"))
		mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE |
		       FALLOC_FL_NO_HIDE_STALE;
	else if (strcmp(m, "plain"))
		die("unknown mode");
	return res(fallocate(fd(), mode, num(arg(a, 1)), num(arg(a, 2))));
}

static int do_truncate(char **a)
{
	return res(ftruncate(fd(), num(arg(a, 0))));
}

static int range_ioctl(unsigned long cmd, char **a)
{
	uint64_t range[2] = { num(arg(a, 0)), num(arg(a, 1)) };

	return res(ioctl(fd(), cmd, range));
}

static int do_discard(char **a)
{
	return range_ioctl(BLKDISCARD, a);
}

static int do_zeroout(char **a)
{
	return range_ioctl(BLKZEROOUT, a);
}

static int do_size(char **a)
{
	uint64_t v;

	(void)a;
	return ioctl(fd(), BLKGETSIZE64, &v) ? -errno : val(v);
}

static int do_ssz(char **a)
{
	int v;

	(void)a;
	return ioctl(fd(), BLKSSZGET, &v) ? -errno : val(v);
}

static int do_ro(char **a)
{
	int v;

	(void)a;
	return ioctl(fd(), BLKROGET, &v) ? -errno : val(v);
}

static int do_rrpart(char **a)
{
	(void)a;
	return res(ioctl(fd(), BLKRRPART, 0));
}

/* part_add NUMBER START LENGTH (in bytes): BLKPG. */
static int do_part_add(char **a)
{
	struct blkpg_partition p = {
		.pno = num(arg(a, 0)),
		.start = num(arg(a, 1)),
		.length = num(arg(a, 2)),
	};
	struct blkpg_ioctl_arg ba = {
		.op = BLKPG_ADD_PARTITION,
		.datalen = sizeof(p),
		.data = &p,
	};

	return res(ioctl(fd(), BLKPG, &ba));
}

/* user UID: become somebody without privileges, for good. */
static int do_user(char **a)
{
	uid_t u = num(arg(a, 0));

	if (setgroups(0, NULL) || setgid(u) || setuid(u))
		return -errno;
	return 0;
}

/* lock_all: from now on there is no new mapping for somebody without privileges (EAGAIN). */
static int do_lock_all(char **a)
{
	struct rlimit none = { 0, 0 };

	(void)a;
	if (mlockall(MCL_FUTURE) || setrlimit(RLIMIT_MEMLOCK, &none))
		return -errno;
	return 0;
}

/* touch PATH and wait PATH: how a script and a running lo meet. */
static int do_touch(char **a)
{
	int f = open(arg(a, 0), O_CREAT | O_WRONLY | O_CLOEXEC, 0666);

	return f < 0 ? -errno : res(close(f));
}

static int do_wait(char **a)
{
	struct stat st;
	int i;

	for (i = 0; i < 6000; i++) {
		if (!stat(arg(a, 0), &st))
			return 0;
		usleep(10000);
	}
	return -ETIMEDOUT;
}

/* gone PATH: wait until there is no such file; see also wait. */
static int do_gone(char **a)
{
	struct stat st;
	int i;

	for (i = 0; i < 60000; i++) {
		if (stat(arg(a, 0), &st))
			return 0;
		usleep(1000);
	}
	return -ETIMEDOUT;
}

/* mount SOURCE DIR TYPE [OPTIONS] and umount DIR, without the tools around. */
static int do_mount(char **a)
{
	return res(mount(arg(a, 0), arg(a, 1), arg(a, 2), 0, a[3]));
}

static int do_umount(char **a)
{
	return res(umount2(arg(a, 0), 0));
}

/* --- requests that nobody waits for: /dev/strayio of tests/kmod --- */

static struct {
	unsigned long closes, in_flight, ok, error;
} stray_total;
static char stray_map[65536 + 1];

/* stray WORD...: open /dev/strayio in the current slot and give it the words. */
static int do_stray(char **a)
{
	char words[1024] = "";
	size_t used = 0;
	int f;

	for (; *a; a++)
		used += snprintf(words + used, sizeof(words) - used, "%s ", *a);
	if (used >= sizeof(words))
		die("too many words");
	f = open("/dev/strayio", O_RDWR | O_CLOEXEC);
	if (f < 0)
		return -errno;
	slot_fd[cur] = f;
	return res(write(f, words, used));
}

static int do_go(char **a)
{
	(void)a;
	return res(write(fd(), "go", 2));
}

static unsigned long stray_count(const char *report, const char *k)
{
	char name[64];
	const char *p;

	snprintf(name, sizeof(name), "%s=", k);
	p = strstr(report, name);
	if (!p)
		die("a word is missing in the report");
	return strtoul(p + strlen(name), NULL, 10);
}

/*
 * report: wait for the requests of the run in the current slot. EIO if one that
 * was sent before the close failed, ETIMEDOUT if any never ended, EBADMSG if a
 * read got the wrong bytes, else the counts of all runs so far:
 * closes-with-I/O-in-flight/requests-in-flight/served/refused
 */
static int do_report(char **a)
{
	static char text[sizeof(stray_map) + 1024];
	unsigned long never, flight;
	size_t used = 0;
	char *nl;
	ssize_t n;

	(void)a;
	while ((n = read(fd(), text + used, sizeof(text) - 1 - used)) > 0)
		used += n;
	if (n < 0)
		return -errno;
	text[used] = '\0';
	nl = strchr(text, '\n');
	if (!nl)
		die("half a report");
	*nl = '\0';
	snprintf(stray_map, sizeof(stray_map), "%.*s", (int)strcspn(nl + 1, "\n"),
		 nl + 1);

	flight = stray_count(text, "in_flight");
	stray_total.closes += flight > 0;
	stray_total.in_flight += flight;
	stray_total.ok += stray_count(text, "before_ok") +
		stray_count(text, "during_ok") + stray_count(text, "after_ok");
	stray_total.error += stray_count(text, "during_error") +
		stray_count(text, "after_error");
	never = stray_count(text, "before_never") +
		stray_count(text, "during_never") + stray_count(text, "after_never");
	if (never || stray_count(text, "before_error") || stray_count(text, "bad"))
		fprintf(stderr, "lo: %s\n", text);
	if (never)
		return -ETIMEDOUT;
	if (stray_count(text, "before_error"))
		return -EIO;
	if (stray_count(text, "bad"))
		return -EBADMSG;
	snprintf(value, sizeof(value), "%lu/%lu/%lu/%lu", stray_total.closes,
		 stray_total.in_flight, stray_total.ok, stray_total.error);
	return 0;
}

/* Is this much of the file at off made of one byte? */
static int block_is(unsigned char byte, uint64_t off, uint64_t len)
{
	unsigned char *b = buffer(len);
	int ret = pread(fd(), b, len, off) == (ssize_t)len && b[0] == byte &&
		!memcmp(b, b + 1, len - 1);

	free(b);
	return ret;
}

/* stored BYTE SIZE: every request that the last report calls done is in the file. */
static int do_stored(char **a)
{
	uint64_t size = num(arg(a, 1));
	size_t i;

	for (i = 0; stray_map[i]; i++)
		if (stray_map[i] == 'o' && !block_is(num(arg(a, 0)), i * size, size))
			return -EBADMSG;
	return 0;
}

/* all BYTE LENGTH: the file begins with this many bytes of that value. */
static int do_all(char **a)
{
	return block_is(num(arg(a, 0)), 0, num(arg(a, 1))) ? 0 : -EBADMSG;
}

static double now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1e6 + ts.tv_nsec / 1e3;
}

/*
 * look PATH TIMES BYTE [BOUND [FILE]]: open the device and read its first block, again
 * and again; more often than TIMES, for up to a minute, until it was bound BOUND times
 * and FILE is there. An open may end with ENXIO, an unbound device has no data; a bound
 * one has BYTE. Gives how often it was bound/unbound/closed for newcomers.
 */
static int do_look(char **a)
{
	unsigned long bound = 0, unbound = 0, refused = 0, i, times = num(arg(a, 1));
	unsigned char want = num(arg(a, 2)), *b = buffer(4096);
	unsigned long enough = a[3] ? num(a[3]) : 0;
	const char *end = a[3] ? a[4] : NULL;
	double until = now() + 60e6;
	int ret = 0;

	for (i = 0; !ret; i++) {
		bool more = i < times || bound < enough || (end && access(end, F_OK));
		ssize_t n;
		int f;

		if (!more || (i >= times && now() >= until))
			break;
		f = open(a[0], O_RDONLY | O_CLOEXEC);
		if (f < 0 && errno == ENXIO) {
			refused++;
			continue;
		}
		if (f < 0) {
			ret = -errno;
			break;
		}
		n = pread(f, b, 4096, 0);
		if (n < 0)
			ret = -errno;
		else if (!n)
			unbound++;
		else if (b[0] != want)
			ret = -EBADMSG;
		else
			bound++;
		close(f);
	}
	free(b);
	if (!ret)
		snprintf(value, sizeof(value), "%lu/%lu/%lu", bound, unbound, refused);
	return ret;
}

static int by_value(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

/* The highest number that attach_detach() was given. */
static int highest;

/* Attach FILE to a free device and detach it; microseconds, or a negative errno. */
static double attach_detach(const char *ctl, const char *prefix, const char *path)
{
	struct loop_config c = { 0 };
	char dev[64];
	double t = now();
	int fctl, f, n, ret;

	fctl = open(ctl, O_RDWR | O_CLOEXEC);
	c.fd = open(path, O_RDWR | O_CLOEXEC);
	n = ioctl(fctl, LOOP_CTL_GET_FREE);
	if (n < 0)
		return -errno;
	if (n > highest)
		highest = n;
	snprintf(dev, sizeof(dev), "%s%d", prefix, n);
	f = open(dev, O_RDWR | O_CLOEXEC);
	if (f < 0)
		return -errno;
	ret = res(ioctl(f, LOOP_CONFIGURE, &c));
	close(c.fd);
	close(f);
	if (ret)
		return ret;
	f = open(dev, O_RDWR | O_CLOEXEC);
	if (f < 0)
		return -errno;
	ret = res(ioctl(f, LOOP_CLR_FD, 0));
	close(f);
	close(fctl);
	return ret ? ret : now() - t;
}

/*
 * pairs N CTL PREFIX CTL PREFIX FILE: attach and detach with one driver and the
 * other in turn; gives the medians in microseconds, as first/second.
 */
static int do_pairs(char **a)
{
	unsigned long n = num(arg(a, 0)), i;
	double *t[2];
	int who, turn;

	(void)arg(a, 5);
	for (who = 0; who < 2; who++)
		t[who] = calloc(n, sizeof(double));
	for (i = 0; i < n; i++)
		for (turn = 0; turn < 2; turn++) {
			double us;

			who = (turn + i) % 2;
			us = attach_detach(a[1 + 2 * who], a[2 + 2 * who], a[5]);
			if (us < 0)
				return us;
			t[who][i] = us;
		}
	for (who = 0; who < 2; who++)
		qsort(t[who], n, sizeof(double), by_value);
	snprintf(value, sizeof(value), "%.0f/%.0f", t[0][n / 2], t[1][n / 2]);
	return 0;
}

/* reuse N CTL PREFIX FILE: attach and detach; gives the highest number of a device */
static int do_reuse(char **a)
{
	unsigned long n = num(arg(a, 0));

	(void)arg(a, 3);
	highest = -1;
	while (n--) {
		double us = attach_detach(a[1], a[2], a[3]);

		if (us < 0)
			return us;
	}
	snprintf(value, sizeof(value), "%d", highest);
	return 0;
}

/*
 * churn CTL PREFIX FILE SECONDS: what "losetup -f FILE" and "losetup -d" do, all
 * the time, beside others who do the same. A device that somebody else was faster
 * to get is EBUSY, or ENXIO if he gives it back just now, and the next free one is
 * asked for. One that was got has FILE, until it is given back (EBADMSG). Gives how
 * often one was got/not got.
 */
static int do_churn(char **a)
{
	unsigned long got = 0, busy = 0;
	double until = now() + num(arg(a, 3)) * 1e6;
	struct loop_config c = { 0 };
	struct loop_info64 info;
	int ctl, file, f, n, ret = 0;
	struct stat st;
	char dev[64];

	ctl = open(a[0], O_RDWR | O_CLOEXEC);
	file = open(a[2], O_RDWR | O_CLOEXEC);
	if (ctl < 0 || file < 0 || fstat(file, &st))
		return -errno;
	c.fd = file;
	while (!ret && now() < until) {
		n = ioctl(ctl, LOOP_CTL_GET_FREE);
		if (n < 0)
			return -errno;
		snprintf(dev, sizeof(dev), "%s%d", a[1], n);
		f = open(dev, O_RDWR | O_CLOEXEC);
		if (f < 0 && errno == ENXIO) {
			busy++;
			continue;
		}
		if (f < 0)
			return -errno;
		ret = res(ioctl(f, LOOP_CONFIGURE, &c));
		if (!ret) {
			got++;
			ret = res(ioctl(f, LOOP_GET_STATUS64, &info));
			if (!ret && info.lo_inode != st.st_ino)
				ret = -EBADMSG;
			if (!ret)
				ret = res(ioctl(f, LOOP_CLR_FD, 0));
		} else if (ret == -EBUSY) {
			busy++;
			ret = 0;
		}
		close(f);
	}
	close(file);
	close(ctl);
	if (!ret)
		snprintf(value, sizeof(value), "%lu/%lu", got, busy);
	return ret;
}

static const struct {
	const char *name;
	int (*run)(char **args);
} verbs[] = {
	{ "open", do_open },
	{ "on", do_on },
	{ "close", do_close },
	{ "configure", do_configure },
	{ "set_fd", do_set_fd },
	{ "clr_fd", do_clr_fd },
	{ "change_fd", do_change_fd },
	{ "set", do_set },
	{ "get", do_get },
	{ "set64", do_set64 },
	{ "get64", do_get64 },
	{ "set_capacity", do_set_capacity },
	{ "set_dio", do_set_dio },
	{ "set_bs", do_set_bs },
	{ "add", do_add },
	{ "remove", do_remove },
	{ "get_free", do_get_free },
	{ "ioctl", do_ioctl },
	{ "pwrite", do_pwrite },
	{ "pread", do_pread },
	{ "count", do_count },
	{ "fsync", do_fsync },
	{ "map", do_map },
	{ "msync", do_msync },
	{ "unmap", do_unmap },
	{ "falloc", do_falloc },
	{ "truncate", do_truncate },
	{ "discard", do_discard },
	{ "zeroout", do_zeroout },
	{ "size", do_size },
	{ "ssz", do_ssz },
	{ "ro", do_ro },
	{ "rrpart", do_rrpart },
	{ "part_add", do_part_add },
	{ "user", do_user },
	{ "lock_all", do_lock_all },
	{ "mount", do_mount },
	{ "umount", do_umount },
	{ "touch", do_touch },
	{ "wait", do_wait },
	{ "gone", do_gone },
	{ "stray", do_stray },
	{ "go", do_go },
	{ "report", do_report },
	{ "stored", do_stored },
	{ "all", do_all },
	{ "look", do_look },
	{ "pairs", do_pairs },
	{ "reuse", do_reuse },
	{ "churn", do_churn },
};

static int run_step(char **step);

/* See Documentation/fault-injection/fault-injection.rst, "fail-nth". */
static int fail_nth(const char *n, char **step)
{
	char left[16] = "";
	int f = open("/proc/thread-self/fail-nth", O_RDWR | O_CLOEXEC);
	int ret;

	if (f < 0 || write(f, n, strlen(n)) < 0)
		die("fail-nth: no fault injection here");
	ret = run_step(step);
	if (pread(f, left, sizeof(left) - 1, 0) < 0)
		die("cannot read fail-nth");
	if (write(f, "0", 1) < 0)
		die("cannot reset fail-nth");
	close(f);
	return !ret && atoi(left) ? -ENODATA : ret;
}

static unsigned int round_number;

/* The arguments with "@" replaced; they are good until the next step. */
static char **expand(char **step)
{
	static char *args[64];
	static char text[8192];
	size_t used = 0, n;

	for (n = 0; step[n]; n++) {
		char *at = strchr(step[n], '@');

		if (n + 1 >= sizeof(args) / sizeof(args[0]))
			die("too many arguments");
		args[n] = step[n];
		if (!at)
			continue;
		args[n] = text + used;
		used += snprintf(text + used, sizeof(text) - used, "%.*s%u%s",
				 (int)(at - step[n]), step[n],
				 round_number % 250 + 1, at + 1) + 1;
		if (used >= sizeof(text))
			die("arguments too long");
	}
	args[n] = NULL;
	return args;
}

static int run_step(char **step)
{
	size_t i;

	value[0] = '\0';
	if (step[0][0] == '!') {
		int ret = run_step(step + 1);

		value[0] = '\0';
		return ret < 0 && !strcmp(strerrorname_np(-ret), step[0] + 1) ?
			0 : -EPROTO;
	}
	if (!strcmp(step[0], "again")) {
		double until = now() + 10e6;
		int ret;

		while ((ret = run_step(step + 1)) < 0 && now() < until)
			usleep(1000);
		return ret;
	}
	if (!strcmp(step[0], "fail_nth"))
		return fail_nth(arg(step, 1), step + 2);
	for (i = 0; i < sizeof(verbs) / sizeof(verbs[0]); i++)
		if (!strcmp(step[0], verbs[i].name))
			return verbs[i].run(step + 1);
	fprintf(stderr, "lo: %s: no such step\n", step[0]);
	exit(2);
}

/* One round; returns 1 if a step ended with an errno. */
static int run_all(char **words, int n, char *line, size_t size)
{
	int i = 0, failed = 0;
	size_t used = 0;

	line[0] = '\0';
	while (i < n) {
		char **step = &words[i];
		int ret;

		while (i < n && words[i])
			i++;
		i++;
		if (!step[0])
			die("an empty step");
		ret = run_step(expand(step));
		failed |= ret < 0;
		used += snprintf(line + used, size - used, "%s%s",
				 used ? " " : "",
				 ret < 0 ? strerrorname_np(-ret) :
				 value[0] ? value : "ok");
		if (used >= size)
			die("too many steps");
	}
	return failed;
}

int main(int argc, char **argv)
{
	static char line[4096];
	int rounds = 1, first = 1, i;

	if (argc > 2 && !strcmp(argv[1], "-n")) {
		rounds = num(argv[2]);
		first = 3;
	}
	if (first >= argc)
		die("usage: lo [-n ROUNDS] STEP [, STEP]...");
	for (i = 0; i < SLOTS; i++)
		slot_fd[i] = -1;
	for (i = first; i < argc; i++)
		if (!strcmp(argv[i], ","))
			argv[i] = NULL;
	for (i = 0; i < rounds; i++) {
		round_number = i;
		if (run_all(argv + first, argc - first, line, sizeof(line)) &&
		    rounds > 1) {
			printf("round %d: ", i + 1);
			break;
		}
	}
	puts(line);
	return 0;
}
