// SPDX-License-Identifier: GPL-2.0-only
/*
 * loopabi: what a loop driver answers, one line for each case of a list.
 *
 *	loopabi CONTROL-NODE PREFIX CASES DISK [GROUP...]
 *
 * CASES is a file (tests/abi/cases), whose lines are
 *
 *	prepare STEP , STEP ...		what all groups need, run first
 *	[group] STEP , STEP ...		what each case of the group begins with
 *	[!group] ...			a group that runs only if it is named
 *	[group 64] ...			one that 32 bits make no difference to
 *	NNN what-it-is: STEP , STEP ...	a case
 *
 * For a case one line is printed: "group/NNN what-it-is:", then words
 * "verb=outcome", where the outcome is "ok", an errno, or what was asked for. A
 * verb that is used again is verb#2, verb#3; one with several answers has them as
 * verb.field=value. Whatever differs between two drivers or two runs by nature is
 * replaced by a name: numbers of devices and files, majors, diskseq (as the
 * difference to the beginning of the case). The steps of prepare and of the group
 * are printed only if they fail.
 *
 * A and B to F are devices, another one in every case, from a ring that this
 * program has added; a partition is Ap1. #8 is the device with that number. S is
 * DISK. All else is a file below the current directory, or a path. A file in a
 * step may have letters in front: r:x is opened for reading only, w: for writing
 * only, d: with O_DIRECT, p: with O_PATH; fd:9 is a number, slot:1 what is open
 * there, "self" the current device, @memfd, @hugetlb, @pipe, @socket and @epoll
 * are new ones of that kind.
 *
 * An open file lives in a slot (0 unless given), and steps use the current slot.
 * After every case all is closed, detached and removed again.
 *
 * Built a second time as a 32-bit program.
 */
#define _GNU_SOURCE
#define _FILE_OFFSET_BITS 64
#include <ctype.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <limits.h>
#include <linux/blkpg.h>
#include <linux/fs.h>
#include <linux/loop.h>
#include <linux/netlink.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define ARRAY_SIZE(a)	(sizeof(a) / sizeof((a)[0]))
#define SLOTS		8
#define RING		12	/* devices in the ring */
#define RING_FIRST	200	/* number of the first one */
#define LETTERS		6	/* A to F */
#define NOBODY		65534

static const char *control, *prefix, *disk;
static char cwd[256];
static uint64_t disk_rdev;
static int uevents;		/* netlink socket */

/* --- one case --- */

static int slot_fd[SLOTS], cur;
static int letter_number[LETTERS];	/* -1: not used yet */
static int ring_next;
static char in_ring_now[RING];		/* has been added */
static int touched[64], nr_touched;	/* numbers of all devices that were used */
static int added[64], nr_added;		/* and of those to be removed again */
/* Greatest diskseq before this case, and so far: all devices share the counter. */
static unsigned long long seq_base, seq_top;
static char mounted[4][64];
static int nr_mounted;
static int quiet;		/* in prepare and setup */
static char line[65536];
static size_t line_len;
static struct {
	char name[32];
	int count;
} used_verbs[64];
static char key[64];		/* of the current step: verb or verb#N */

static void die(const char *fmt, ...)
{
	va_list ap;

	fprintf(stderr, "loopabi: %s: ", line);
	va_start(ap, fmt);
	vfprintf(stderr, fmt, ap);
	va_end(ap);
	fputc('\n', stderr);
	exit(2);
}

static void append(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	line_len += vsnprintf(line + line_len, sizeof(line) - line_len, fmt, ap);
	va_end(ap);
	if (line_len >= sizeof(line))
		die("the line is too long");
}

/* A word of the result; blanks in the value would end it. */
static void say(const char *field, const char *fmt, ...)
{
	char value[8192], *p;
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(value, sizeof(value), fmt, ap);
	va_end(ap);
	for (p = value; *p; p++)
		if (isspace((unsigned char)*p) || *p == '|')
			*p = '_';
	if (quiet && (field[0] || value[0] != 'E'))
		return;
	append(" %s%s%s%s=%s", quiet ? "setup:" : "", key, field[0] ? "." : "",
	       field, value);
}

static const char *outcome(int err)
{
	return err ? strerrorname_np(err) : "ok";
}

/* The outcome of a system call. Returns its errno. */
static int say_result(long ret)
{
	int err = ret < 0 ? errno : 0;

	say("", "%s", outcome(err));
	return err;
}

static void say_value(long ret, unsigned long long value)
{
	if (ret < 0)
		say("", "%s", outcome(errno));
	else
		say("", "%llu", value);
}

/* --- arguments --- */

static uint64_t num(const char *s)
{
	char *end;
	uint64_t v;

	if (!s)
		die("a number is missing");
	v = strtoull(s, &end, 0);
	switch (*end) {
	case 'G':
		v <<= 10;	/* fall through */
	case 'M':
		v <<= 10;	/* fall through */
	case 'K':
		v <<= 10;
		end++;
	}
	if (*end)
		die("'%s' is not a number", s);
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

/* The value of NAME=VALUE among the arguments. */
static const char *option(char **a, const char *name)
{
	size_t len = strlen(name);

	for (; *a; a++)
		if (!strncmp(*a, name, len) && (*a)[len] == '=')
			return *a + len + 1;
	return NULL;
}

static uint64_t option_num(char **a, const char *name)
{
	const char *s = option(a, name);

	return s ? num(s) : 0;
}

static const struct {
	const char *name;
	unsigned int flag;
} flag_names[] = {
	{ "ro", LO_FLAGS_READ_ONLY },
	{ "autoclear", LO_FLAGS_AUTOCLEAR },
	{ "partscan", LO_FLAGS_PARTSCAN },
	{ "dio", LO_FLAGS_DIRECT_IO },
};

/* autoclear+partscan, or a number */
static unsigned int parse_flags(const char *s)
{
	unsigned int flags = 0;
	size_t i;

	if (!s)
		return 0;
	while (*s) {
		size_t len = strcspn(s, "+");

		if (isdigit((unsigned char)*s)) {
			flags |= strtoul(s, NULL, 0);
		} else {
			for (i = 0; i < ARRAY_SIZE(flag_names); i++)
				if (strlen(flag_names[i].name) == len &&
				    !strncmp(flag_names[i].name, s, len))
					break;
			if (i == ARRAY_SIZE(flag_names))
				die("unknown flag '%s'", s);
			flags |= flag_names[i].flag;
		}
		s += len;
		s += *s == '+';
	}
	return flags;
}

static const char *show_flags(unsigned int flags)
{
	static char text[128];
	size_t i;

	text[0] = '\0';
	for (i = 0; i < ARRAY_SIZE(flag_names); i++) {
		if (!(flags & flag_names[i].flag))
			continue;
		if (text[0])
			strcat(text, "+");
		strcat(text, flag_names[i].name);
		flags &= ~flag_names[i].flag;
	}
	if (flags)
		sprintf(text + strlen(text), "+0x%x", flags);
	return text[0] ? text : "0";
}

/* --- devices --- */

static int ctl(unsigned long cmd, long number)
{
	int f = open(control, O_RDWR | O_CLOEXEC), ret, err;

	if (f < 0)
		return -1;
	ret = ioctl(f, cmd, number);
	err = errno;
	close(f);
	errno = err;
	return ret;
}

static int count_devices(void)
{
	DIR *d = opendir("/sys/block");
	size_t plen = strlen(prefix);
	struct dirent *e;
	int n = 0;

	while ((e = readdir(d)))
		n += !strncmp(e->d_name, prefix, plen) &&
			isdigit((unsigned char)e->d_name[plen]);
	closedir(d);
	return n;
}

static int slurp(const char *path, char *text, size_t size)
{
	int f = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n;

	text[0] = '\0';
	if (f < 0)
		return -1;
	n = read(f, text, size - 1);
	close(f);
	if (n < 0)
		return -1;
	text[n] = '\0';
	while (n > 0 && text[n - 1] == '\n')
		text[--n] = '\0';
	return 0;
}

static const char *sysfs_path(int number, const char *what)
{
	static char path[256];

	snprintf(path, sizeof(path), "/sys/block/%s%d%s%s", prefix, number,
		 what[0] ? "/" : "", what);
	return path;
}

static int exists(const char *path)
{
	struct stat st;

	return !lstat(path, &st);
}

static void seq_seen(unsigned long long seq)
{
	if (seq > seq_top)
		seq_top = seq;
}

static unsigned long long diskseq(int number)
{
	char text[64];

	if (slurp(sysfs_path(number, "diskseq"), text, sizeof(text)))
		return 0;
	seq_seen(strtoull(text, NULL, 10));
	return strtoull(text, NULL, 10);
}

/* How many there have been since the case began; 0 for one from before. */
static unsigned long long seq_since(unsigned long long seq)
{
	return seq > seq_base ? seq - seq_base : 0;
}

static void touch(int number)
{
	int i;

	for (i = 0; i < nr_touched; i++)
		if (touched[i] == number)
			return;
	if (nr_touched == ARRAY_SIZE(touched))
		die("too many devices");
	touched[nr_touched++] = number;
}

/* The next device of the ring; the first time round it is added. */
static int ring_device(void)
{
	int n = ring_next++ % RING;

	if (!in_ring_now[n]) {
		if (ctl(LOOP_CTL_ADD, RING_FIRST + n) < 0)
			die("device %d: %m", RING_FIRST + n);
		in_ring_now[n] = 1;
		seq_base = seq_top = diskseq(RING_FIRST + n);
	}
	return RING_FIRST + n;
}

static void note_added(int number)
{
	if (number < 0)
		return;
	if (nr_added == ARRAY_SIZE(added))
		die("too many devices");
	added[nr_added++] = number;
	touch(number);
}

/* A ... F and #8; -1 if it is no device of ours. *part: what follows the name. */
static int device_number(const char *name, const char **part)
{
	int number;

	*part = "";
	if (name[0] == '#') {
		char *end;

		number = strtol(name + 1, &end, 10);
		*part = end;
		touch(number);
		return number;
	}
	if (name[0] < 'A' || name[0] >= 'A' + LETTERS ||
	    (name[1] && name[1] != 'p'))
		return -1;
	*part = name + 1;
	number = letter_number[name[0] - 'A'];
	if (number < 0) {
		number = ring_device();
		letter_number[name[0] - 'A'] = number;
	}
	touch(number);
	return number;
}

static int device(const char *name)
{
	const char *part;
	int number = device_number(name, &part);

	if (number < 0 || *part)
		die("'%s' is not a device", name);
	return number;
}

static const char *path_of(const char *name)
{
	static char path[512];
	const char *part;
	int number;

	if (!strcmp(name, "S"))
		return disk;
	if (!strcmp(name, "ctl"))
		return control;
	number = device_number(name, &part);
	if (number < 0)
		return name;
	snprintf(path, sizeof(path), "/dev/%s%d%s", prefix, number, part);
	return path;
}

/* A number as it is called in this case. */
static const char *device_name(int number)
{
	static char text[16];
	int i;

	for (i = 0; i < LETTERS; i++)
		if (letter_number[i] == number) {
			snprintf(text, sizeof(text), "%c", 'A' + i);
			return text;
		}
	snprintf(text, sizeof(text), "#%d", number);
	return text;
}

/* All device names and the working directory in a text of the kernel's. */
static const char *normal(const char *text)
{
	static char out[8192];
	size_t n = 0, plen = strlen(prefix), clen = strlen(cwd), dlen = strlen(disk);
	const char *p = text;

	while (*p && n < sizeof(out) - 64) {
		if (!strncmp(p, cwd, clen) && p[clen] == '/') {
			p += clen + 1;
			continue;
		}
		if (!strncmp(p, disk, dlen)) {
			out[n++] = 'S';
			p += dlen;
			continue;
		}
		if (!strncmp(p, "/dev/", 5) && !strncmp(p + 5, prefix, plen) &&
		    isdigit((unsigned char)p[5 + plen]))
			p += 5;
		if (!strncmp(p, prefix, plen) && isdigit((unsigned char)p[plen])) {
			char *end;

			n += sprintf(out + n, "%s",
				     device_name(strtol(p + plen, &end, 10)));
			p = end;
			continue;
		}
		out[n++] = *p++;
	}
	out[n] = '\0';
	return out;
}

/* What a device number stands for: lo_rdevice. */
static const char *rdev_name(uint64_t rdev)
{
	static char text[32];
	int i;

	if (!rdev)
		return "0";
	if (rdev == disk_rdev)
		return "S";
	for (i = 0; i < nr_touched; i++) {
		struct stat st;

		snprintf(text, sizeof(text), "/dev/%s%d", prefix, touched[i]);
		if (!stat(text, &st) && st.st_rdev == rdev)
			return device_name(touched[i]);
	}
	return "?";
}

/* --- files --- */

/* All files there have been, for the inode numbers in a status. */
static struct {
	char name[64];
	dev_t dev;
	ino_t ino;
} files[64];
static int nr_files, nr_lasting_files;

static void remember_fd(const char *name, int f)
{
	struct stat st;

	if (fstat(f, &st))
		return;
	if (nr_files == ARRAY_SIZE(files))
		die("too many files");
	snprintf(files[nr_files].name, sizeof(files[0].name), "%s", name);
	files[nr_files].dev = st.st_dev;
	files[nr_files].ino = st.st_ino;
	nr_files++;
}

/* The youngest with that number, which may be in use again. */
static const char *file_name(uint64_t dev, uint64_t ino)
{
	int i;

	for (i = nr_files - 1; i >= 0; i--)
		if (files[i].ino == ino && files[i].dev == dev)
			return files[i].name;
	return "?";
}

static int open_special(const char *what)
{
	int pair[2], f;

	if (!strcmp(what, "@memfd")) {
		f = memfd_create("m", MFD_CLOEXEC);
		if (f >= 0 && ftruncate(f, 65536))
			return -1;
		return f;
	}
	if (!strcmp(what, "@hugetlb"))
		return memfd_create("h", MFD_CLOEXEC | MFD_HUGETLB);
	if (!strcmp(what, "@pipe")) {
		if (pipe2(pair, O_CLOEXEC))
			return -1;
		close(pair[1]);
		return pair[0];
	}
	if (!strcmp(what, "@socket"))
		return socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	if (!strcmp(what, "@epoll"))
		return epoll_create1(EPOLL_CLOEXEC);
	die("unknown kind of file '%s'", what);
	return -1;
}

/* See the comment at the top. *ours: to be closed after use. */
static int open_spec(const char *spec, int *ours)
{
	int flags = O_RDWR, f;
	const char *colon = strchr(spec, ':');

	*ours = 0;
	if (!strcmp(spec, "self"))
		return slot_fd[cur];
	if (!strncmp(spec, "fd:", 3))
		return strtol(spec + 3, NULL, 0);
	if (!strncmp(spec, "slot:", 5))
		return slot_fd[num(spec + 5) % SLOTS];
	*ours = 1;
	if (spec[0] == '@') {
		f = open_special(spec);
	} else {
		if (colon) {
			const char *p;

			for (p = spec; p < colon; p++)
				switch (*p) {
				case 'r':
					flags = (flags & ~O_ACCMODE) | O_RDONLY;
					break;
				case 'w':
					flags = (flags & ~O_ACCMODE) | O_WRONLY;
					break;
				case 'd':
					flags |= O_DIRECT;
					break;
				case 'a':
					flags |= O_APPEND;
					break;
				case 'p':
					flags = O_PATH;
					break;
				default:
					die("unknown letter in '%s'", spec);
				}
			spec = colon + 1;
		}
		f = open(path_of(spec), flags | O_CLOEXEC | O_NONBLOCK);
	}
	if (f >= 0 && (spec[0] == '/' || spec[0] == '@' || isupper((unsigned char)spec[0])))
		remember_fd(spec, f);
	return f;
}

/* file NAME SIZE [BYTE]: new, sparse or full of that byte. */
static void do_file(char **a)
{
	const char *name = arg(a, 0);
	uint64_t size = num(arg(a, 1));
	int f = open(name, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0666);

	if (f < 0) {
		say_result(-1);
		return;
	}
	if (a[2]) {
		char *b = malloc(size);

		memset(b, num(a[2]), size);
		if (write(f, b, size) != (ssize_t)size)
			die("cannot fill '%s'", name);
		free(b);
	}
	say_result(ftruncate(f, size));
	remember_fd(name, f);
	close(f);
}

/* table NAME START+LENGTH...: an MBR with these partitions, in blocks. */
static void do_table(char **a)
{
	unsigned char mbr[512] = { 0 };
	int f = open(arg(a, 0), O_RDWR | O_CLOEXEC), i;

	for (i = 0; i < 4 && a[i + 1]; i++) {
		unsigned char *entry = mbr + 446 + 16 * i;
		unsigned int start, len;

		if (sscanf(a[i + 1], "%u+%u", &start, &len) != 2)
			die("'%s' is not START+LENGTH", a[i + 1]);
		entry[4] = 0x83;
		memcpy(entry + 8, &start, 4);
		memcpy(entry + 12, &len, 4);
	}
	mbr[510] = 0x55;
	mbr[511] = 0xaa;
	say_result(pwrite(f, mbr, 512, 0));
	close(f);
}

static void do_truncate(char **a)
{
	say_result(truncate(arg(a, 0), num(arg(a, 1))));
}

static void do_unlink(char **a)
{
	say_result(unlink(arg(a, 0)));
}

static void do_rename(char **a)
{
	say_result(rename(arg(a, 0), arg(a, 1)));
}

static void do_chmod(char **a)
{
	say_result(chmod(path_of(arg(a, 0)), strtoul(arg(a, 1), NULL, 8)));
}

/* Major number and minors per device of the driver, whether it has devices or not. */
static void find_numbers(int *major, int *shift)
{
	int ours = strcmp(prefix, "loop"), max_part;
	char text[256], name[64], path[64];
	FILE *f = fopen("/proc/devices", "r");

	*major = -1;
	while (f && fgets(text, sizeof(text), f))
		if (!strncmp(text, "Block", 5))
			break;
	while (f && *major < 0 && fgets(text, sizeof(text), f))
		if (sscanf(text, "%d %63s", major, name) != 2 ||
		    strcmp(name, ours ? "safeloop" : "loop"))
			*major = -1;
	if (*major < 0)
		die("no major number");
	fclose(f);

	if (!exists("/sys/module/safeloop"))
		ours = 0;
	else if (!exists("/sys/module/loop"))
		ours = 1;
	snprintf(path, sizeof(path), "/sys/module/%s/parameters/max_part",
		 ours ? "safeloop" : "loop");
	if (slurp(path, text, sizeof(text)))
		die("no %s", path);
	for (*shift = 0, max_part = atoi(text); max_part; max_part >>= 1)
		++*shift;
}

/* mknod NAME NUMBER: a node of a device of this driver, there or not. */
static void do_mknod(char **a)
{
	int number = num(arg(a, 1)), major, shift;

	find_numbers(&major, &shift);
	unlink(arg(a, 0));
	say_result(mknod(a[0], S_IFBLK | 0600, makedev(major, number << shift)));
	if (!exists(sysfs_path(number, "")))
		note_added(number);
}

/* as nobody | root */
static void do_as(char **a)
{
	int nobody = !strcmp(arg(a, 0), "nobody");

	if (nobody)
		say_result(setegid(NOBODY) || seteuid(NOBODY) ? -1 : 0);
	else
		say_result(seteuid(0) || setegid(0) ? -1 : 0);
}

/* --- slots --- */

static int slot_arg(char **a, int i)
{
	int slot = a[i] ? (int)num(a[i]) : cur;

	if (slot < 0 || slot >= SLOTS)
		die("no slot %d", slot);
	return slot;
}

/* open WHAT [rwx...] [SLOT]: x is O_EXCL, d O_DIRECT, n O_NONBLOCK. */
static void do_open(char **a)
{
	const char *mode = a[1] ? a[1] : "rw";
	int flags = O_CLOEXEC, slot;

	slot = a[0] && a[1] && a[2] ? slot_arg(a, 2) : 0;
	flags |= strchr(mode, 'w') ? strchr(mode, 'r') ? O_RDWR : O_WRONLY : O_RDONLY;
	flags |= strchr(mode, 'x') ? O_EXCL : 0;
	flags |= strchr(mode, 'd') ? O_DIRECT : 0;
	flags |= strchr(mode, 'n') ? O_NONBLOCK : 0;
	cur = slot;
	if (slot_fd[cur] >= 0)
		die("slot %d is in use", cur);
	slot_fd[cur] = open(path_of(arg(a, 0)), flags);
	say_result(slot_fd[cur]);
}

static void do_on(char **a)
{
	cur = slot_arg(a, 0);
}

static void do_dup(char **a)
{
	int to = slot_arg(a, 0);

	slot_fd[to] = dup(slot_fd[cur]);
	say_result(slot_fd[to]);
}

static void do_close(char **a)
{
	int slot = slot_arg(a, 0);

	say_result(close(slot_fd[slot]));
	slot_fd[slot] = -1;
}

static int fd(void)
{
	return slot_fd[cur];
}

/* --- the ioctls of a loop device --- */

/* "x*64" is 64 times an x. */
static void copy_name(void *to, const char *name)
{
	const char *star = name ? strchr(name, '*') : NULL;

	if (star)
		memset(to, name[0], num(star + 1));
	else if (name)
		strncpy(to, name, LO_NAME_SIZE);
}

static void fill_info(struct loop_info64 *info, char **a)
{
	info->lo_flags = parse_flags(option(a, "flags"));
	info->lo_offset = option_num(a, "off");
	info->lo_sizelimit = option_num(a, "limit");
	info->lo_encrypt_type = option_num(a, "enc");
	info->lo_encrypt_key_size = option_num(a, "keysize");
	info->lo_number = option_num(a, "number");
	info->lo_device = option_num(a, "device");
	info->lo_inode = option_num(a, "inode");
	info->lo_rdevice = option_num(a, "rdevice");
	info->lo_init[0] = option_num(a, "init");
	copy_name(info->lo_file_name, option(a, "name"));
	copy_name(info->lo_crypt_name, option(a, "crypt"));
}

/* configure FILE [off= limit= bs= flags= name= enc= keysize= ... reserved=] */
static void do_configure(char **a)
{
	struct loop_config c = { 0 };
	int ours;

	c.fd = open_spec(arg(a, 0), &ours);
	if (ours && (int)c.fd < 0) {
		say("", "no-file:%s", outcome(errno));
		return;
	}
	c.block_size = option_num(a, "bs");
	c.__reserved[0] = option_num(a, "reserved");
	fill_info(&c.info, a + 1);
	say_result(ioctl(fd(), LOOP_CONFIGURE, &c));
	if (ours)
		close(c.fd);
}

static void file_ioctl(unsigned long cmd, char **a)
{
	int ours, f = open_spec(arg(a, 0), &ours);

	if (ours && f < 0) {
		say("", "no-file:%s", outcome(errno));
		return;
	}
	say_result(ioctl(fd(), cmd, (long)f));
	if (ours)
		close(f);
}

static void do_set_fd(char **a)
{
	file_ioctl(LOOP_SET_FD, a);
}

static void do_change_fd(char **a)
{
	file_ioctl(LOOP_CHANGE_FD, a);
}

static void do_clr_fd(char **a)
{
	say_result(ioctl(fd(), LOOP_CLR_FD, a[0] ? (long)num(a[0]) : 0));
}

/* set64 and set: options as configure; those not given are 0. */
static void do_set64(char **a)
{
	struct loop_info64 info = { 0 };

	fill_info(&info, a);
	say_result(ioctl(fd(), LOOP_SET_STATUS64, &info));
}

static void do_set(char **a)
{
	struct loop_info64 info64 = { 0 };
	struct loop_info info = { 0 };

	fill_info(&info64, a);
	info.lo_number = info64.lo_number;
	info.lo_device = info64.lo_device;
	info.lo_inode = info64.lo_inode;
	info.lo_offset = info64.lo_offset;
	info.lo_encrypt_type = info64.lo_encrypt_type;
	info.lo_encrypt_key_size = info64.lo_encrypt_key_size;
	info.lo_flags = info64.lo_flags;
	memcpy(info.lo_name, info64.lo_file_name, LO_NAME_SIZE);
	say_result(ioctl(fd(), LOOP_SET_STATUS, &info));
}

/* The rest of a buffer that has been filled with ones: what the kernel left alone. */
static int all_zero(const void *p, size_t len)
{
	const unsigned char *c = p;

	while (len && !*c)
		c++, len--;
	return !len;
}

static void say_name(const unsigned char *name, size_t size)
{
	size_t len = strnlen((const char *)name, size), run;

	for (run = 1; run < len && name[run] == name[0]; run++)
		;
	if (len > 8 && run == len)
		say("name", "%c*%zu", name[0], len);
	else
		say("name", "%.*s", (int)len, name);
}

static void do_get64(char **a)
{
	struct loop_info64 i;
	int number = letter_number[0] >= 0 ? letter_number[0] : -1;

	(void)a;
	memset(&i, 0xff, sizeof(i));
	if (say_result(ioctl(fd(), LOOP_GET_STATUS64, &i)))
		return;
	say("file", "%s", file_name(i.lo_device, i.lo_inode));
	say("off", "%llu", (unsigned long long)i.lo_offset);
	say("limit", "%llu", (unsigned long long)i.lo_sizelimit);
	say("flags", "%s", show_flags(i.lo_flags));
	say_name(i.lo_file_name, LO_NAME_SIZE);
	if (i.lo_rdevice)
		say("rdev", "%s", rdev_name(i.lo_rdevice));
	if ((int)i.lo_number != number)
		say("number", "%s", device_name(i.lo_number));
	if (i.lo_encrypt_type || i.lo_encrypt_key_size ||
	    !all_zero(i.lo_crypt_name, LO_NAME_SIZE) ||
	    !all_zero(i.lo_encrypt_key, LO_KEY_SIZE) ||
	    !all_zero(i.lo_init, sizeof(i.lo_init)))
		say("crypt", "%u,%u", i.lo_encrypt_type, i.lo_encrypt_key_size);
}

static void do_get(char **a)
{
	struct loop_info i;
	int number = letter_number[0] >= 0 ? letter_number[0] : -1;

	(void)a;
	memset(&i, 0xff, sizeof(i));
	if (say_result(ioctl(fd(), LOOP_GET_STATUS, &i)))
		return;
	say("file", "%s", file_name(i.lo_device, i.lo_inode));
	say("off", "%d", i.lo_offset);
	say("flags", "%s", show_flags(i.lo_flags));
	say_name((unsigned char *)i.lo_name, LO_NAME_SIZE);
	if (i.lo_rdevice)
		say("rdev", "%s", rdev_name(i.lo_rdevice));
	if (i.lo_number != number)
		say("number", "%s", device_name(i.lo_number));
	if (i.lo_encrypt_type || i.lo_encrypt_key_size ||
	    !all_zero(i.lo_encrypt_key, LO_KEY_SIZE) ||
	    !all_zero(i.lo_init, sizeof(i.lo_init)) ||
	    !all_zero(i.reserved, sizeof(i.reserved)))
		say("crypt", "%d,%d", i.lo_encrypt_type, i.lo_encrypt_key_size);
}

static void value_ioctl(unsigned long cmd, uint64_t v)
{
	if (v != (unsigned long)v && v != (uint64_t)(long)v)
		say("", "too-wide");
	else
		say_result(ioctl(fd(), cmd, (unsigned long)v));
}

static void do_set_capacity(char **a)
{
	value_ioctl(LOOP_SET_CAPACITY, a[0] ? num(a[0]) : 0);
}

static void do_set_dio(char **a)
{
	value_ioctl(LOOP_SET_DIRECT_IO, num(arg(a, 0)));
}

static void do_set_bs(char **a)
{
	value_ioctl(LOOP_SET_BLOCK_SIZE, num(arg(a, 0)));
}

static const struct {
	const char *name;
	unsigned long cmd;
} ioctl_names[] = {
	{ "SET_FD", LOOP_SET_FD },
	{ "CLR_FD", LOOP_CLR_FD },
	{ "SET_STATUS", LOOP_SET_STATUS },
	{ "GET_STATUS", LOOP_GET_STATUS },
	{ "SET_STATUS64", LOOP_SET_STATUS64 },
	{ "GET_STATUS64", LOOP_GET_STATUS64 },
	{ "CHANGE_FD", LOOP_CHANGE_FD },
	{ "SET_CAPACITY", LOOP_SET_CAPACITY },
	{ "SET_DIRECT_IO", LOOP_SET_DIRECT_IO },
	{ "SET_BLOCK_SIZE", LOOP_SET_BLOCK_SIZE },
	{ "CONFIGURE", LOOP_CONFIGURE },
	{ "CTL_ADD", LOOP_CTL_ADD },
	{ "CTL_REMOVE", LOOP_CTL_REMOVE },
	{ "CTL_GET_FREE", LOOP_CTL_GET_FREE },
};

/* ioctl NAME|NUMBER ARGUMENT; "bad" is an address where nothing is. */
static void do_ioctl(char **a)
{
	unsigned long cmd = 0, v;
	const char *name = arg(a, 0);
	size_t i;

	for (i = 0; i < ARRAY_SIZE(ioctl_names); i++)
		if (!strcmp(name, ioctl_names[i].name))
			cmd = ioctl_names[i].cmd;
	if (!cmd)
		cmd = num(name);
	v = strcmp(arg(a, 1), "bad") ? (unsigned long)num(a[1]) : 8;
	say_result(ioctl(fd(), cmd, v));
}

/* --- the control node --- */

static void say_number(int ret)
{
	if (ret < 0)
		say("", "%s", outcome(errno));
	else
		say("", "%s", device_name(ret));
}

/* A number, or the device with that name. */
static long number_arg(char **a)
{
	const char *s = arg(a, 0);

	return isupper((unsigned char)s[0]) || s[0] == '#' ? device(s) : (long)num(s);
}

/* add, remove NUMBER|DEVICE and get_free use the current slot if it is the node. */
static void do_add(char **a)
{
	int ret = ioctl(fd(), LOOP_CTL_ADD, number_arg(a));

	say_number(ret);
	note_added(ret);
}

static void do_remove(char **a)
{
	int ret = ioctl(fd(), LOOP_CTL_REMOVE, number_arg(a));

	say_result(ret);
}

static void do_get_free(char **a)
{
	int before = count_devices();
	int ret = ioctl(fd(), LOOP_CTL_GET_FREE, a[0] ? (long)num(a[0]) : 0);

	say_number(ret);
	if (count_devices() > before)
		note_added(ret);
}

/* --- what the block layer tells --- */

static void do_size(char **a)
{
	uint64_t v = 0;
	int ret = ioctl(fd(), BLKGETSIZE64, &v);

	(void)a;
	say_value(ret, v);
}

static void do_ro(char **a)
{
	int v = 0, ret = ioctl(fd(), BLKROGET, &v);

	(void)a;
	say_value(ret, v);
}

static void do_ssz(char **a)
{
	int v = 0, ret = ioctl(fd(), BLKSSZGET, &v);

	(void)a;
	say_value(ret, v);
}

/* blk: all of the block layer's questions. */
static void do_blk(char **a)
{
	static const struct {
		const char *name;
		unsigned long cmd;
	} asked[] = {
		{ "size64", BLKGETSIZE64 },
		{ "size", BLKGETSIZE },
		{ "ro", BLKROGET },
		{ "ssz", BLKSSZGET },
		{ "bsz", BLKBSZGET },
		{ "pbsz", BLKPBSZGET },
		{ "iomin", BLKIOMIN },
		{ "ioopt", BLKIOOPT },
		{ "alignoff", BLKALIGNOFF },
		{ "discardzeroes", BLKDISCARDZEROES },
		{ "rotational", BLKROTATIONAL },
		{ "sectors", BLKSECTGET },
	};
	size_t i;

	(void)a;
	for (i = 0; i < ARRAY_SIZE(asked); i++) {
		uint64_t v = 0;	/* little endian: the rest stays 0 */

		if (ioctl(fd(), asked[i].cmd, &v) < 0)
			say(asked[i].name, "%s", outcome(errno));
		else
			say(asked[i].name, "%llu", (unsigned long long)v);
	}
}

static void do_set_ro(char **a)
{
	int v = num(arg(a, 0));

	say_result(ioctl(fd(), BLKROSET, &v));
}

static void do_bszset(char **a)
{
	int v = num(arg(a, 0));

	say_result(ioctl(fd(), BLKBSZSET, &v));
}

static void do_rrpart(char **a)
{
	(void)a;
	say_result(ioctl(fd(), BLKRRPART, 0));
}

static void do_flsbuf(char **a)
{
	(void)a;
	say_result(ioctl(fd(), BLKFLSBUF, 0));
}

static void blkpg(int op, char **a)
{
	struct blkpg_partition p = {
		.pno = num(arg(a, 0)),
		.start = a[1] ? num(a[1]) : 0,
		.length = a[1] ? num(arg(a, 2)) : 0,
	};
	struct blkpg_ioctl_arg ba = {
		.op = op,
		.datalen = sizeof(p),
		.data = &p,
	};

	say_result(ioctl(fd(), BLKPG, &ba));
}

/* part_add NUMBER START LENGTH (bytes), part_resize likewise, part_del NUMBER */
static void do_part_add(char **a)
{
	blkpg(BLKPG_ADD_PARTITION, a);
}

static void do_part_resize(char **a)
{
	blkpg(BLKPG_RESIZE_PARTITION, a);
}

static void do_part_del(char **a)
{
	blkpg(BLKPG_DEL_PARTITION, a);
}

static void range_ioctl(unsigned long cmd, char **a)
{
	uint64_t range[2] = { num(arg(a, 0)), num(arg(a, 1)) };

	say_result(ioctl(fd(), cmd, range));
}

static void do_discard(char **a)
{
	range_ioctl(BLKDISCARD, a);
}

static void do_zeroout(char **a)
{
	range_ioctl(BLKZEROOUT, a);
}

static void *buffer(size_t len)
{
	void *b;

	if (posix_memalign(&b, 65536, len + 1))
		die("no memory");
	return b;
}

/* pread OFFSET LENGTH: the byte it consists of, or mixed; how many if cut. */
static void do_pread(char **a)
{
	size_t len = num(arg(a, 1)), i;
	unsigned char *b = buffer(len);
	ssize_t n = pread(fd(), b, len, num(a[0]));

	for (i = 1; n > 0 && i < (size_t)n && b[i] == b[0]; i++)
		;
	if (n < 0)
		say("", "%s", outcome(errno));
	else if (n < (ssize_t)len)
		say("", "short:%zd", n);
	else if (i < len)
		say("", "mixed");
	else
		say("", "%u", b[0]);
	free(b);
}

/* pwrite OFFSET LENGTH BYTE */
static void do_pwrite(char **a)
{
	size_t len = num(arg(a, 1));
	unsigned char *b = buffer(len);
	ssize_t n;

	memset(b, num(arg(a, 2)), len);
	n = pwrite(fd(), b, len, num(a[0]));
	if (n < 0)
		say("", "%s", outcome(errno));
	else if (n < (ssize_t)len)
		say("", "short:%zd", n);
	else
		say("", "ok");
	free(b);
}

static void do_fsync(char **a)
{
	(void)a;
	say_result(fsync(fd()));
}

/* --- sysfs --- */

/* The device that a step is about: its first argument, or A. */
static int about(char **a)
{
	return device(a[0] ? a[0] : "A");
}

static void say_sysfs(int number, const char *field, const char *file)
{
	char text[8192];

	if (slurp(sysfs_path(number, file), text, sizeof(text)))
		say(field, "%s", outcome(errno));
	else
		say(field, "%s", normal(text));
}

static int no_dots(const struct dirent *d)
{
	return d->d_name[0] != '.';
}

/* loop [DEVICE]: the group of a bound device. */
static void do_loop(char **a)
{
	int number = about(a), n, i;
	struct dirent **names;
	char file[300];

	n = scandir(sysfs_path(number, "loop"), &names, no_dots, alphasort);
	if (n < 0) {
		say("", "%s", errno == ENOENT ? "absent" : outcome(errno));
		return;
	}
	for (i = 0; i < n; i++) {
		snprintf(file, sizeof(file), "loop/%s", names[i]->d_name);
		say_sysfs(number, names[i]->d_name, file);
		free(names[i]);
	}
	free(names);
}

/* ls [DEVICE [DIR]]: names only. */
static void do_ls(char **a)
{
	int number = about(a), n, i;
	struct dirent **names;

	n = scandir(sysfs_path(number, a[0] && a[1] ? a[1] : ""), &names, no_dots,
		    alphasort);
	if (n < 0) {
		say_result(-1);
		return;
	}
	for (i = 0; i < n; i++) {
		say(normal(names[i]->d_name), "%s", names[i]->d_type == DT_DIR ? "dir" :
		    names[i]->d_type == DT_LNK ? "link" : "file");
		free(names[i]);
	}
	free(names);
}

/* sys DEVICE FILE... */
static void do_sys(char **a)
{
	int number = device(arg(a, 0));

	for (a++; *a; a++)
		say_sysfs(number, *a, *a);
}

/* mode DEVICE FILE...: permissions of sysfs files. */
static void do_mode(char **a)
{
	int number = device(arg(a, 0));
	struct stat st;

	for (a++; *a; a++)
		if (stat(sysfs_path(number, *a), &st))
			say(*a, "%s", outcome(errno));
		else
			say(*a, "%o", st.st_mode & 07777);
}

/* echo DEVICE FILE VALUE */
static void do_echo(char **a)
{
	int number = device(arg(a, 0));
	int f = open(sysfs_path(number, arg(a, 1)), O_WRONLY | O_CLOEXEC);
	long ret = f < 0 ? -1 : write(f, arg(a, 2), strlen(a[2]));

	say_result(ret);
	if (f >= 0)
		close(f);
}

/*
 * What is left of a binding of this driver, the queue limits too, goes some moments
 * after the detach; until then LOOP_CTL_GET_FREE passes over the device. Wait for it.
 */
static void wait_free(int number)
{
	char text[64];
	int i;

	if (!exists(sysfs_path(number, "safeloop")))
		return;
	for (i = 0; i < 2500; i++) {
		if (slurp(sysfs_path(number, "queue/discard_max_bytes"), text,
			  sizeof(text)) || !strcmp(text, "0"))
			break;
		usleep(2000);
	}
	/* The last of it, a few instructions later, cannot be seen. */
	usleep(25000);
}

static const char *const limits[] = {
	"logical_block_size", "physical_block_size", "minimum_io_size",
	"optimal_io_size", "max_hw_sectors_kb", "max_sectors_kb", "max_segments",
	"max_segment_size", "discard_granularity", "discard_max_bytes",
	"discard_max_hw_bytes", "write_zeroes_max_bytes", "dma_alignment",
	"write_cache", "rotational", "stable_writes",
};

static void say_limits(int number)
{
	char file[64];
	size_t i;

	for (i = 0; i < ARRAY_SIZE(limits); i++) {
		snprintf(file, sizeof(file), "queue/%s", limits[i]);
		say_sysfs(number, limits[i], file);
	}
}

static void do_limits(char **a)
{
	say_limits(about(a));
}

/* limits_after [DEVICE]: likewise, of a device that has been detached. */
static void do_limits_after(char **a)
{
	int number = about(a);

	wait_free(number);
	say_limits(number);
}

/* parts [DEVICE]: number@start+length of each partition, in sectors. */
static void do_parts(char **a)
{
	int number = about(a), i;
	char all[512] = "", file[64], start[32], size[32];

	for (i = 1; i < 32; i++) {
		snprintf(file, sizeof(file), "%s%dp%d/start", prefix, number, i);
		if (slurp(sysfs_path(number, file), start, sizeof(start)))
			continue;
		snprintf(file, sizeof(file), "%s%dp%d/size", prefix, number, i);
		slurp(sysfs_path(number, file), size, sizeof(size));
		snprintf(all + strlen(all), sizeof(all) - strlen(all), "%s%d@%s+%s",
			 all[0] ? "," : "", i, start, size);
	}
	say("", "%s", all[0] ? all : "none");
}

static void do_diskseq(char **a)
{
	say("", "+%llu", seq_since(diskseq(about(a))));
}

/* there DEVICE|PATH: is there such a node or file? */
static void do_there(char **a)
{
	say("", "%s", exists(path_of(arg(a, 0))) ? "yes" : "no");
}

/* count: how many devices the driver has, beside the ring. */
static void do_count(char **a)
{
	int i, n = count_devices();

	(void)a;
	for (i = 0; i < RING; i++)
		n -= in_ring_now[i];
	say("", "%d", n);
}

/* --- uevents --- */

/* An event is "ACTION@DEVPATH", then KEY=VALUE strings. */
static const char *event_disk(const char *msg, int *number)
{
	const char *path = strchr(msg, '@');
	size_t plen = strlen(prefix);
	char *end;

	path = path ? strstr(path, "/block/") : NULL;
	if (!path || strncmp(path + 7, prefix, plen) ||
	    !isdigit((unsigned char)path[7 + plen]))
		return NULL;
	*number = strtol(path + 7 + plen, &end, 10);
	return end;
}

static void append_event(char *all, size_t size, const char *msg, size_t len,
			 int full)
{
	static const char *const known[] = {
		"ACTION=", "DEVPATH=", "SUBSYSTEM=", "MAJOR=", "MINOR=", "DEVNAME=",
		"DEVTYPE=",
	};
	const char *end = msg + len, *part, *p;
	size_t used = strlen(all), i;
	int number;

#define ADD(...) (used += snprintf(all + used, used < size ? size - used : 0, __VA_ARGS__))
	part = event_disk(msg, &number);
	if (!part)
		return;
	part = strrchr(part, '/') ? strrchr(part, 'p') : "";
	ADD("%s%.*s:%s%s", used ? "," : "", (int)(strchr(msg, '@') - msg), msg,
	    device_name(number), part);
	for (p = msg + strlen(msg) + 1; p < end; p += strlen(p) + 1) {
		if (!strncmp(p, "SEQNUM=", 7))
			continue;
		if (!strncmp(p, "DISKSEQ=", 8)) {
			ADD(":DISKSEQ+%llu", seq_since(strtoull(p + 8, NULL, 10)));
			continue;
		}
		for (i = 0; i < ARRAY_SIZE(known); i++)
			if (!strncmp(p, known[i], strlen(known[i])))
				break;
		if (i == ARRAY_SIZE(known))
			ADD(":%s", normal(p));
		else if (full && (!strncmp(p, "MAJOR", 5) || !strncmp(p, "MINOR", 5)))
			ADD(":%.5s", p);
		else if (full)
			ADD(":%s", normal(p));
	}
#undef ADD
}

static void see_seq(const char *msg, size_t len)
{
	const char *p;

	for (p = msg; p < msg + len; p += strlen(p) + 1)
		if (!strncmp(p, "DISKSEQ=", 8))
			seq_seen(strtoull(p + 8, NULL, 10));
}

static void drain_events(char *all, size_t size, int full)
{
	static char msg[16384];
	ssize_t n;

	while ((n = recv(uevents, msg, sizeof(msg) - 1, MSG_DONTWAIT)) > 0) {
		msg[n] = '\0';
		see_seq(msg, n);
		if (all && strchr(msg, '@'))
			append_event(all, size, msg, n, full);
	}
	if (n < 0 && errno != EAGAIN)
		die("uevents were lost: %m");
}

/* events: those of our disks since the last look, in order. events_full: all keys. */
static void do_events(char **a)
{
	static char all[8000];

	all[0] = '\0';
	drain_events(all, sizeof(all), a[0] != NULL);
	say("", "%s", all[0] ? all : "none");
}

/* --- mounts --- */

/* mount DEVICE DIR TYPE [OPTIONS]: "ro" is a flag. */
static void do_mount(char **a)
{
	unsigned long flags = a[3] && !strcmp(a[3], "ro") ? MS_RDONLY : 0;
	int ret;

	mkdir(arg(a, 1), 0755);
	ret = mount(path_of(a[0]), a[1], arg(a, 2), flags, flags ? NULL : a[3]);
	say_result(ret);
	if (!ret)
		snprintf(mounted[nr_mounted++], sizeof(mounted[0]), "%s", a[1]);
}

static void do_umount(char **a)
{
	say_result(umount2(arg(a, 0), 0));
}

static void do_umount_lazy(char **a)
{
	say_result(umount2(arg(a, 0), MNT_DETACH));
}

/* --- races --- */

#define RACERS 4

/* Four processes at once; each ends with the errno of what it did. */
static void race(int (*run)(int who, long arg), long argument)
{
	struct {
		int err, count;
	} seen[RACERS + 1] = { { 0 } };
	int gate[2], i, j, kinds = 1;
	char text[256] = "";

	if (pipe2(gate, O_CLOEXEC))
		die("pipe");
	fflush(stdout);
	for (i = 0; i < RACERS; i++) {
		pid_t pid = fork();
		char c;

		if (pid < 0)
			die("fork: %m");
		if (!pid) {
			close(gate[1]);
			if (read(gate[0], &c, 1))
				_exit(255);
			_exit(run(i, argument));
		}
	}
	close(gate[0]);
	close(gate[1]);
	for (i = 0; i < RACERS; i++) {
		int status, err;

		wait(&status);
		err = WIFEXITED(status) ? WEXITSTATUS(status) : 255;
		for (j = 0; j < kinds; j++)
			if (seen[j].err == err)
				break;
		seen[j].err = err;
		seen[j].count++;
		kinds += j == kinds;
	}
	snprintf(text, sizeof(text), "ok:%d", seen[0].count);
	for (j = 1; j < kinds; j++)
		snprintf(text + strlen(text), sizeof(text) - strlen(text), ",%s:%d",
			 strerrorname_np(seen[j].err), seen[j].count);
	say("", "%s", text);
}

static int race_add(int who, long number)
{
	(void)who;
	return ctl(LOOP_CTL_ADD, number) == number ? 0 : errno;
}

static int race_remove(int who, long number)
{
	(void)who;
	return ctl(LOOP_CTL_REMOVE, number) < 0 ? errno : 0;
}

static int race_add_any(int who, long number)
{
	int n = ctl(LOOP_CTL_ADD, -1);

	(void)who;
	(void)number;
	if (n < 0)
		return errno;
	while (ctl(LOOP_CTL_REMOVE, n) < 0)
		if (errno != EBUSY)
			return errno;
	return 0;
}

/* Everybody adds and removes the same one until it has done so itself. */
static int race_add_remove(int who, long number)
{
	(void)who;
	while (ctl(LOOP_CTL_ADD, number) < 0)
		if (errno != EEXIST)
			return errno;
	while (ctl(LOOP_CTL_REMOVE, number) < 0 && errno != ENODEV)
		if (errno != EBUSY)
			return errno;
	return 0;
}

static int race_attach(int number, int f)
{
	struct loop_config c = { .fd = f };
	char path[64];
	int d, ret;

	snprintf(path, sizeof(path), "/dev/%s%d", prefix, number);
	d = open(path, O_RDWR | O_CLOEXEC);
	if (d < 0)
		return errno;
	ret = ioctl(d, LOOP_CONFIGURE, &c) < 0 ? errno : 0;
	close(d);
	return ret;
}

static int race_detach(int number)
{
	char path[64];
	int d, ret;

	snprintf(path, sizeof(path), "/dev/%s%d", prefix, number);
	d = open(path, O_RDWR | O_CLOEXEC);
	if (d < 0)
		return errno;
	ret = ioctl(d, LOOP_CLR_FD, 0) < 0 ? errno : 0;
	close(d);
	return ret;
}

/* One device, many who want it: all but one get EBUSY. */
static int race_configure(int who, long number)
{
	(void)who;
	return race_attach(number, open("f", O_RDWR | O_CLOEXEC));
}

/* As losetup -f does it: GET_FREE, CONFIGURE, again if it was EBUSY. */
static int race_free(int who, long number)
{
	int f = open("f", O_RDWR | O_CLOEXEC), i, n, err;

	(void)who;
	(void)number;
	for (i = 0; i < 5; i++) {
		do {
			n = ctl(LOOP_CTL_GET_FREE, 0);
			if (n < 0)
				return errno;
			err = race_attach(n, f);
		} while (err == EBUSY || err == ENXIO);
		if (err)
			return err;
		err = race_detach(n);
		if (err)
			return err;
	}
	return 0;
}

/* Of many who detach at once at least one does; the others find it done. */
static int race_clear(int who, long number)
{
	int err = race_detach(number);

	(void)who;
	return err == ENXIO ? 0 : err;
}

/* race WHAT [NUMBER|DEVICE] */
static void do_race(char **a)
{
	static const struct {
		const char *name;
		int (*run)(int who, long arg);
	} kinds[] = {
		{ "add", race_add },
		{ "remove", race_remove },
		{ "add_any", race_add_any },
		{ "add_remove", race_add_remove },
		{ "configure", race_configure },
		{ "free", race_free },
		{ "clear", race_clear },
	};
	long number = a[0] && a[1] ? number_arg(a + 1) : -1;
	char there[RING_FIRST];
	size_t i, n;

	for (i = 0; i < ARRAY_SIZE(kinds); i++)
		if (!strcmp(arg(a, 0), kinds[i].name)) {
			for (n = 0; n < RING_FIRST; n++)
				there[n] = exists(sysfs_path(n, "size"));
			race(kinds[i].run, number);
			/* LOOP_CTL_GET_FREE may add devices. */
			for (n = 0; n < RING_FIRST; n++)
				if (!there[n] && exists(sysfs_path(n, "size")))
					note_added(n);
			if (number >= 0 && !isupper((unsigned char)a[1][0]))
				note_added(number);
			return;
		}
	die("unknown race '%s'", a[0]);
}

/* --- the list of cases --- */

static const struct {
	const char *name;
	void (*run)(char **args);
} verbs[] = {
	{ "add", do_add },
	{ "as", do_as },
	{ "blk", do_blk },
	{ "bszset", do_bszset },
	{ "change_fd", do_change_fd },
	{ "chmod", do_chmod },
	{ "close", do_close },
	{ "clr_fd", do_clr_fd },
	{ "configure", do_configure },
	{ "count", do_count },
	{ "discard", do_discard },
	{ "diskseq", do_diskseq },
	{ "dup", do_dup },
	{ "echo", do_echo },
	{ "events", do_events },
	{ "file", do_file },
	{ "flsbuf", do_flsbuf },
	{ "fsync", do_fsync },
	{ "get", do_get },
	{ "get64", do_get64 },
	{ "get_free", do_get_free },
	{ "ioctl", do_ioctl },
	{ "limits", do_limits },
	{ "limits_after", do_limits_after },
	{ "loop", do_loop },
	{ "ls", do_ls },
	{ "mknod", do_mknod },
	{ "mode", do_mode },
	{ "mount", do_mount },
	{ "on", do_on },
	{ "open", do_open },
	{ "part_add", do_part_add },
	{ "part_del", do_part_del },
	{ "part_resize", do_part_resize },
	{ "parts", do_parts },
	{ "pread", do_pread },
	{ "pwrite", do_pwrite },
	{ "race", do_race },
	{ "remove", do_remove },
	{ "rename", do_rename },
	{ "ro", do_ro },
	{ "rrpart", do_rrpart },
	{ "set", do_set },
	{ "set64", do_set64 },
	{ "set_bs", do_set_bs },
	{ "set_capacity", do_set_capacity },
	{ "set_dio", do_set_dio },
	{ "set_fd", do_set_fd },
	{ "set_ro", do_set_ro },
	{ "size", do_size },
	{ "ssz", do_ssz },
	{ "sys", do_sys },
	{ "table", do_table },
	{ "there", do_there },
	{ "truncate", do_truncate },
	{ "umount", do_umount },
	{ "umount_lazy", do_umount_lazy },
	{ "unlink", do_unlink },
	{ "zeroout", do_zeroout },
};

static void name_step(const char *verb)
{
	size_t i;

	for (i = 0; i < ARRAY_SIZE(used_verbs) && used_verbs[i].name[0]; i++)
		if (!strcmp(used_verbs[i].name, verb))
			break;
	if (i == ARRAY_SIZE(used_verbs))
		die("too many verbs");
	snprintf(used_verbs[i].name, sizeof(used_verbs[i].name), "%s", verb);
	if (++used_verbs[i].count > 1)
		snprintf(key, sizeof(key), "%s#%d", verb, used_verbs[i].count);
	else
		snprintf(key, sizeof(key), "%s", verb);
}

static void run_steps(const char *steps)
{
	char text[4096], *words[64], *save = NULL, *w;
	size_t i, n = 0;

	snprintf(text, sizeof(text), "%s", steps);
	for (w = strtok_r(text, " \t\n", &save); ; w = strtok_r(NULL, " \t\n", &save)) {
		if (w && strcmp(w, ",")) {
			if (n == ARRAY_SIZE(words) - 1)
				die("too many words");
			words[n++] = w;
			continue;
		}
		words[n] = NULL;
		if (n) {
			for (i = 0; i < ARRAY_SIZE(verbs); i++)
				if (!strcmp(verbs[i].name, words[0]))
					break;
			if (i == ARRAY_SIZE(verbs))
				die("no step '%s'", words[0]);
			name_step(words[0]);
			errno = 0;
			verbs[i].run(words + 1);
			n = 0;
		}
		if (!w)
			return;
	}
}

static void forget_verbs(void)
{
	memset(used_verbs, 0, sizeof(used_verbs));
}

static void begin_case(void)
{
	int i;

	for (i = 0; i < SLOTS; i++)
		slot_fd[i] = -1;
	for (i = 0; i < LETTERS; i++)
		letter_number[i] = -1;
	cur = nr_touched = nr_added = nr_mounted = 0;
	nr_files = nr_lasting_files;
	line_len = 0;
	line[0] = '\0';
	forget_verbs();
}

static int in_ring(int number)
{
	return number >= RING_FIRST && number < RING_FIRST + RING;
}

static int has_partitions(int number)
{
	char file[64];
	int i;

	for (i = 1; i < 32; i++) {
		snprintf(file, sizeof(file), "%s%dp%d", prefix, number, i);
		if (exists(sysfs_path(number, file)))
			return 1;
	}
	return 0;
}

static void detach(int number)
{
	char path[64];
	int f;

	snprintf(path, sizeof(path), "/dev/%s%d", prefix, number);
	f = open(path, O_RDWR | O_CLOEXEC);
	if (f < 0)
		return;
	ioctl(f, LOOP_CLR_FD, 0);
	close(f);
}

/*
 * dirty: devices are made anew before they go back into the ring; parts, modes: they
 * may have partitions, or nodes with other permissions.
 */
static void end_case(int dirty, int parts, int modes)
{
	int i, pass, bound;

	if (seteuid(0) || setegid(0))
		die("cannot be root again");
	for (i = nr_mounted - 1; i >= 0; i--)
		umount2(mounted[i], MNT_DETACH);
	for (i = 0; i < SLOTS; i++)
		if (slot_fd[i] >= 0)
			close(slot_fd[i]);
	/* What is on top of another has to go first. */
	for (pass = 0, bound = 1; bound && pass < 100; pass++) {
		bound = 0;
		for (i = nr_touched - 1; i >= 0; i--)
			if (exists(sysfs_path(touched[i], "loop"))) {
				detach(touched[i]);
				bound |= exists(sysfs_path(touched[i], "loop"));
			}
		if (bound)
			usleep(10000);
	}
	if (bound)
		die("still bound");
	for (i = 0; i < nr_touched; i++) {
		char path[64];

		if (!in_ring(touched[i])) {
			wait_free(touched[i]);
			continue;
		}
		if (dirty || !exists(sysfs_path(touched[i], "size")) ||
		    (parts && has_partitions(touched[i]))) {
			ctl(LOOP_CTL_REMOVE, touched[i]);
			if (ctl(LOOP_CTL_ADD, touched[i]) != touched[i])
				die("cannot add %d: %m", touched[i]);
			continue;
		}
		if (!modes)
			continue;
		snprintf(path, sizeof(path), "/dev/%s%d", prefix, touched[i]);
		chmod(path, 0600);
	}
	for (i = 0; i < nr_added; i++)
		if (!in_ring(added[i]))
			ctl(LOOP_CTL_REMOVE, added[i]);
}

static int wanted(const char *group, int on_request, char **groups)
{
	char **g;

	if (!groups[0])
		return !on_request;
	for (g = groups; *g; g++)
		if (!strcmp(*g, group))
			return 1;
	return 0;
}

/* The greatest diskseq that any device has now. */
static void see_all_seq(void)
{
	int i;

	for (i = 0; i < RING; i++)
		if (in_ring_now[i])
			diskseq(RING_FIRST + i);
	for (i = 0; i < nr_touched; i++)
		diskseq(touched[i]);
}

static void run_case(const char *group, const char *setup, const char *name,
		     const char *steps)
{
	begin_case();
	append("%s/%s:", group, name);
	quiet = 1;
	run_steps(setup);
	quiet = 0;
	forget_verbs();
	drain_events(NULL, 0, 0);
	if (strstr(steps, "events") || strstr(steps, "diskseq")) {
		see_all_seq();
		seq_base = seq_top;
	}
	run_steps(steps);
	puts(line);
	/*
	 * The in-tree driver leaves uevents suppressed when a configuration has
	 * failed for the block size, and older ones some partitions. BLKROSET and
	 * what is written to sysfs stays. The next case gets new devices then.
	 */
	end_case(strstr(steps, "set_ro 1") || strstr(steps, "echo ") ||
		 (strstr(steps, " bs=") && strstr(line, "configure=EINVAL")),
		 strstr(steps, "part") != NULL,
		 strstr(setup, "chmod") || strstr(steps, "chmod"));
}

static void prepare(const char *steps)
{
	begin_case();
	append("prepare:");
	quiet = 1;
	run_steps(steps);
	quiet = 0;
	if (strchr(line, '='))
		die("that went wrong");
	nr_lasting_files = nr_files;
	end_case(0, 0, 0);
}

/* "[!name 64] SETUP": is the group to be run? Cuts the name out of the text. */
static int begin_group(char *text, char **groups, char **name, char **setup)
{
	int on_request = text[1] == '!', wide;
	char *end = strchr(text, ']');

	if (!end)
		die("%s", text);
	*end = '\0';
	*name = text + 1 + on_request;
	*setup = end + 1;
	wide = end - *name > 3 && !strcmp(end - 3, " 64");
	if (wide)
		end[-3] = '\0';
	return wanted(*name, on_request, groups) && (!wide || sizeof(long) == 8);
}

static void run_list(const char *file, char **groups)
{
	static char text[4096], head[4096];
	char *name = NULL, *setup = NULL, *colon;
	FILE *list = fopen(file, "r");
	int on = 0;

	if (!list)
		die("%s: %m", file);
	while (fgets(text, sizeof(text), list)) {
		if (!strncmp(text, "prepare ", 8)) {
			prepare(text + 8);
		} else if (text[0] == '[') {
			strcpy(head, text);
			on = begin_group(head, groups, &name, &setup);
		} else if (isdigit((unsigned char)text[0]) && on) {
			colon = strchr(text, ':');
			if (!colon)
				die("%s: %s", file, text);
			*colon = '\0';
			run_case(name, setup, text, colon + 1);
		}
	}
	fclose(list);
}

static void remove_ring(void)
{
	int i;

	for (i = 0; i < RING; i++)
		if (in_ring_now[i] && ctl(LOOP_CTL_REMOVE, RING_FIRST + i) < 0)
			die("device %d: %m", RING_FIRST + i);
}

static void listen_to_uevents(void)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	int size = 8 << 20;

	uevents = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC, NETLINK_KOBJECT_UEVENT);
	if (uevents < 0)
		die("socket: %m");
	setsockopt(uevents, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(uevents, (struct sockaddr *)&addr, sizeof(addr)))
		die("bind: %m");
}

int main(int argc, char **argv)
{
	struct stat st;

	if (argc < 5) {
		fprintf(stderr, "usage: loopabi CONTROL-NODE PREFIX CASES DISK [GROUP...]\n");
		return 2;
	}
	control = argv[1];
	prefix = argv[2];
	disk = argv[4];
	umask(0);
	setvbuf(stdout, NULL, _IOLBF, 0);
	if (!getcwd(cwd, sizeof(cwd)) || stat(disk, &st) || setgroups(0, NULL))
		die("%m");
	disk_rdev = st.st_rdev;
	listen_to_uevents();
	run_list(argv[3], argv + 5);
	remove_ring();
	return 0;
}
