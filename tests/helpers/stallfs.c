// SPDX-License-Identifier: GPL-2.0-only
/*
 * stallfs: a FUSE filesystem with one file, which can be stalled and released.
 *
 *	stallfs FILE GATE DIRECTORY
 *
 * DIRECTORY/file is FILE. As long as GATE exists, reads, writes, fsync and
 * fallocate on it do not come to an end. If FILE.errno exists, fsync and
 * fallocate fail with the number in it. Runs until DIRECTORY is unmounted.
 *
 * link: -lfuse3
 */
#define FUSE_USE_VERSION 31
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <fuse3/fuse.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static const char *gate;
static char *errno_file;
static int file;

static void pass_gate(void)
{
	while (!access(gate, F_OK))
		usleep(5000);
}

/* 0, or a negative errno to fail with. */
static int failure(void)
{
	FILE *f = fopen(errno_file, "r");
	int err = 0;

	if (!f)
		return 0;
	if (fscanf(f, "%d", &err) != 1)
		err = EIO;
	fclose(f);
	return -err;
}

static int stall_getattr(const char *path, struct stat *st,
			 struct fuse_file_info *fi)
{
	(void)fi;
	if (!strcmp(path, "/")) {
		memset(st, 0, sizeof(*st));
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, "/file"))
		return -ENOENT;
	return fstat(file, st) ? -errno : 0;
}

static int stall_open(const char *path, struct fuse_file_info *fi)
{
	(void)fi;
	return strcmp(path, "/file") ? -ENOENT : 0;
}

static int stall_read(const char *path, char *buf, size_t size, off_t off,
		      struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path, (void)fi;
	pass_gate();
	n = pread(file, buf, size, off);
	return n < 0 ? -errno : n;
}

static int stall_write(const char *path, const char *buf, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path, (void)fi;
	pass_gate();
	n = pwrite(file, buf, size, off);
	return n < 0 ? -errno : n;
}

static int stall_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	int err = failure();

	(void)path, (void)datasync, (void)fi;
	pass_gate();
	if (err)
		return err;
	return fsync(file) ? -errno : 0;
}

static int stall_fallocate(const char *path, int mode, off_t off, off_t len,
			   struct fuse_file_info *fi)
{
	int err = failure();

	(void)path, (void)fi;
	pass_gate();
	if (err)
		return err;
	return fallocate(file, mode, off, len) ? -errno : 0;
}

static int stall_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	return ftruncate(file, size) ? -errno : 0;
}

static const struct fuse_operations operations = {
	.getattr	= stall_getattr,
	.open		= stall_open,
	.read		= stall_read,
	.write		= stall_write,
	.fsync		= stall_fsync,
	.fallocate	= stall_fallocate,
	.truncate	= stall_truncate,
};

int main(int argc, char **argv)
{
	char *args[] = { argv[0], "-f", "-o", "allow_other", argv[3] };

	if (argc != 4) {
		fprintf(stderr, "usage: stallfs FILE GATE DIRECTORY\n");
		return 2;
	}
	gate = argv[2];
	if (asprintf(&errno_file, "%s.errno", argv[1]) < 0)
		return 1;
	file = open(argv[1], O_RDWR | O_CLOEXEC);
	if (file < 0) {
		perror(argv[1]);
		return 1;
	}
	return fuse_main(sizeof(args) / sizeof(args[0]), args, &operations, NULL);
}
