# SPDX-License-Identifier: GPL-2.0-only
# What people type. What is built is in Kbuild; nothing here asks whether kbuild is reading it, because
# DKMS puts KERNELRELEASE= on our command line too.

KVER ?= $(shell uname -r)
KDIR ?= /lib/modules/$(KVER)/build

.PHONY: modules install clean demo check check-debug check-intree help

modules:
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" modules

install: modules
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" INSTALL_MOD_DIR=updates modules_install

clean:
	$(MAKE) -C "$(KDIR)" M="$(CURDIR)" clean

# "exec", so that a signal to make comes to the script and not to a shell in between.
demo:
	@exec scripts/demo

check:
	@exec env KERNEL="$(KERNEL)" TEST="$(TEST)" scripts/run-tests

check-debug:
	@exec env VARIANT="$(VARIANT)" TEST="$(TEST)" scripts/check-debug

check-intree:
	@exec env KERNEL="$(KERNEL)" TEST="$(TEST)" scripts/check-intree

help:
	@echo "make                 build safeloop.ko for the running kernel (or KDIR=its headers)"
	@echo "make install         install it for that kernel"
	@echo "make clean           remove what was built"
	@echo "make demo            see it work: boots a Debian kernel in QEMU, uses safeloop there"
	@echo "make check           build and test it on all supported kernels"
	@echo "make check KERNEL=7.3 TEST=life/010"
	@echo "                     one kernel, one test (or group)"
	@echo "make check-debug VARIANT=debug TEST=life"
	@echo "                     test it on kernels built for that, with KASAN and lockdep (debug), with KCSAN (kcsan)"
	@echo "make check-intree    the tests of group detach against the kernel's own driver, which has to fail"
