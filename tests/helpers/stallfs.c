// SPDX-License-Identifier: GPL-2.0-only
/*
 * stallfs: a FUSE filesystem with one file, which can be stalled and released.
 *
 *	stallfs FILE GATE DIRECTORY [OPTIONS]
 *
 * DIRECTORY/file is FILE. As long as GATE exists, reads, writes, fsync and
 * fallocate on it do not come to an end; GATE.read, GATE.write, GATE.fsync,
 * GATE.fallocate, GATE.getattr and GATE.statfs are for one of them each. If
 * FILE.errno exists, fsync and fallocate fail with the number in it; if
 * FILE.getattr exists, getattr does, which a lookup needs too (entry_timeout).
 * OPTIONS are mount options in place of allow_other. Runs until DIRECTORY is unmounted.
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
#include <sys/statvfs.h>
#include <unistd.h>

static const char *gate;
static char *errno_file, *getattr_file;
static int file;

static void pass_gate(const char *op)
{
	char path[256];

	snprintf(path, sizeof(path), "%s.%s", gate, op);
	while (!access(path, F_OK))
		usleep(5000);
}

static void pass_gates(const char *op)
{
	while (!access(gate, F_OK))
		usleep(5000);
	pass_gate(op);
}

/* 0, or a negative errno to fail with. */
static int failure(const char *path)
{
	FILE *f = fopen(path, "r");
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
	int err;

	(void)fi;
	if (!strcmp(path, "/")) {
		memset(st, 0, sizeof(*st));
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
		return 0;
	}
	if (strcmp(path, "/file"))
		return -ENOENT;
	pass_gate("getattr");
	err = failure(getattr_file);
	if (err)
		return err;
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
	pass_gates("read");
	n = pread(file, buf, size, off);
	return n < 0 ? -errno : n;
}

static int stall_write(const char *path, const char *buf, size_t size, off_t off,
		       struct fuse_file_info *fi)
{
	ssize_t n;

	(void)path, (void)fi;
	pass_gates("write");
	n = pwrite(file, buf, size, off);
	return n < 0 ? -errno : n;
}

static int stall_fsync(const char *path, int datasync, struct fuse_file_info *fi)
{
	int err = failure(errno_file);

	(void)path, (void)datasync, (void)fi;
	pass_gates("fsync");
	if (err)
		return err;
	return fsync(file) ? -errno : 0;
}

static int stall_fallocate(const char *path, int mode, off_t off, off_t len,
			   struct fuse_file_info *fi)
{
	int err = failure(errno_file);

	(void)path, (void)fi;
	pass_gates("fallocate");
	if (err)
		return err;
	return fallocate(file, mode, off, len) ? -errno : 0;
}

static int stall_truncate(const char *path, off_t size, struct fuse_file_info *fi)
{
	(void)path, (void)fi;
	return ftruncate(file, size) ? -errno : 0;
}

static int stall_statfs(const char *path, struct statvfs *st)
{
	(void)path;
	pass_gate("statfs");
	return fstatvfs(file, st) ? -errno : 0;
}

static const struct fuse_operations operations = {
	.getattr	= stall_getattr,
	.open		= stall_open,
	.read		= stall_read,
	.write		= stall_write,
	.fsync		= stall_fsync,
	.fallocate	= stall_fallocate,
	.truncate	= stall_truncate,
	.statfs		= stall_statfs,
};

int main(int argc, char **argv)
{
	char *args[] = { argv[0], "-f", "-o", "allow_other", argv[3] };

	if (argc != 4 && argc != 5) {
		fprintf(stderr, "usage: stallfs FILE GATE DIRECTORY [OPTIONS]\n");
		return 2;
	}
	if (argc == 5)
		args[3] = argv[4];
	gate = argv[2];
	if (asprintf(&errno_file, "%s.errno", argv[1]) < 0 ||
	    asprintf(&getattr_file, "%s.getattr", argv[1]) < 0)
		return 1;
	file = open(argv[1], O_RDWR | O_CLOEXEC);
	if (file < 0) {
		perror(argv[1]);
		return 1;
	}
	return fuse_main(sizeof(args) / sizeof(args[0]), args, &operations, NULL);
}
