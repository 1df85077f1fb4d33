// SPDX-License-Identifier: GPL-2.0-only
/*
 * uevents: write down what the kernel announces about one disk.
 *
 *	uevents DISK OUTFILE READYFILE
 *
 * One line per uevent of /devices/.../DISK and its partitions: the action, then
 * KEY=VALUE of everything after the header, in the kernel's order. Ends at
 * SIGTERM, after what had been sent until then. The action of an event that
 * somebody asked for by writing to the uevent file (udev does, after a device
 * open for writing was closed) gets the prefix "synth-".
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <linux/netlink.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <unistd.h>

static void die(const char *what)
{
	perror(what);
	exit(2);
}

/* The message is "ACTION@DEVPATH", then KEY=VALUE strings. */
static int about_disk(const char *msg, const char *disk)
{
	const char *path = strchr(msg, '@');
	char part[128];

	if (!path)
		return 0;
	snprintf(part, sizeof(part), "/block/%s", disk);
	path = strstr(path, part);
	if (!path)
		return 0;
	path += strlen(part);
	return *path == '\0' || *path == '/';
}

static void print_event(FILE *out, const char *msg, size_t len)
{
	const char *end = msg + len, *p;

	for (p = msg + strlen(msg) + 1; p < end; p += strlen(p) + 1)
		if (!strncmp(p, "SYNTH_UUID=", 11))
			fprintf(out, "synth-");
	fprintf(out, "%.*s", (int)(strchr(msg, '@') - msg), msg);
	for (p = msg + strlen(msg) + 1; p < end; p += strlen(p) + 1)
		fprintf(out, " %s", p);
	fputc('\n', out);
}

static void drain(int sock, FILE *out, const char *disk)
{
	static char msg[16384];
	ssize_t n;

	while ((n = recv(sock, msg, sizeof(msg) - 1, MSG_DONTWAIT)) > 0) {
		msg[n] = '\0';
		if (about_disk(msg, disk))
			print_event(out, msg, n);
	}
	fflush(out);
}

int main(int argc, char **argv)
{
	struct sockaddr_nl addr = { .nl_family = AF_NETLINK, .nl_groups = 1 };
	struct pollfd pfd[2];
	int size = 8 << 20;
	sigset_t term;
	FILE *out;

	if (argc != 4) {
		fprintf(stderr, "usage: uevents DISK OUTFILE READYFILE\n");
		return 2;
	}
	sigemptyset(&term);
	sigaddset(&term, SIGTERM);
	sigprocmask(SIG_BLOCK, &term, NULL);
	out = fopen(argv[2], "w");
	if (!out)
		die(argv[2]);
	pfd[0].fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
			   NETLINK_KOBJECT_UEVENT);
	pfd[1].fd = signalfd(-1, &term, SFD_CLOEXEC);
	if (pfd[0].fd < 0 || pfd[1].fd < 0)
		die("socket");
	setsockopt(pfd[0].fd, SOL_SOCKET, SO_RCVBUFFORCE, &size, sizeof(size));
	if (bind(pfd[0].fd, (struct sockaddr *)&addr, sizeof(addr)))
		die("bind");
	pfd[0].events = pfd[1].events = POLLIN;
	if (creat(argv[3], 0600) < 0)
		die(argv[3]);
	do {
		if (poll(pfd, 2, -1) < 0)
			die("poll");
		drain(pfd[0].fd, out, argv[1]);
	} while (!(pfd[1].revents & POLLIN));
	drain(pfd[0].fd, out, argv[1]);
	return fclose(out) ? 1 : 0;
}
