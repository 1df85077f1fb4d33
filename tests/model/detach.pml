/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Detaching, as src/ has it, for SPIN: every order in which requests, closers, an
 * opener, the two work items, a second bind, the removal of the device and the
 * unloading of the module can meet. doc/design.md tells the protocol; the names
 * here are those of the C functions, so that whoever changes one sees the other.
 *
 * SPIN runs one step after another and all see it at once, which is a stronger
 * memory than any machine has. It stands for the real one because each pair of
 * steps whose order matters has a full barrier between them: sloop_backing_pin()
 * counts before it looks, sloop_backing_retire() sets before anybody looks at the
 * counts, sloop_dev_busy() and sloop_queue_is_empty() look after what made them ask.
 * Take a barrier away, and this model does not notice.
 *
 * What is in one "atomic" is one step here although it is several in C: nobody
 * else can tell what is between them.
 *
 * Not here: the bytes (P2), a failed bind (P9), the ABI (P10), a swap of handles
 * on a frozen queue, the memory of a handle (RCU keeps it for who looks at it). A
 * bio that has passed the size check before a detach and enters the queue after
 * the fence is nobody's: it may be served by the next file, or refused.
 *
 * What is run is chosen by -D:
 *
 *   REQUESTS=n		so many requests, 3 if not given
 *   ALONE		there is no opener
 *   CLOSER=kind	who closes (below), any of them if not given
 *   ELEVATOR		the device has one
 *   CLR_FD		LOOP_CLR_FD is called, or the binding is to be cleared anyway
 *   BINDER		the opener binds as well, to a third file
 *   REMOVE		LOOP_CTL_REMOVE and rmmod, at any time
 *   FROZEN		the lower filesystem is, until the opener has had its try
 *   ONLY=n		of the promises, n is asserted alone
 *
 * and by something that the driver does and the model then does not, to see that
 * it is needed:
 *
 *   NO_TAG_LOOK	sloop_try_retire() does not ask sloop_dev_busy()
 *   NO_ELEVATOR_LOOK	sloop_dev_busy() takes no notice of an elevator
 *   RETIRE_AFTER_LOOK	no second look at the pins
 *   NO_FENCE		sloop_fence_workfn() does not freeze
 *   NO_MODULE_REF	the work item of a stray detach has no module reference
 *   NO_EXIT_FLUSH	module exit does not wait for the work items
 *   NO_CLOSER_FPUT	the work item closes the backing file, not the closer
 *   NO_OPEN_CHECK	sloop_open() lets in who comes while the device is draining
 *   NO_BIND_RECHECK	sloop_bind_lock() does not look again under the lock
 *   END_FIRST		a request is ended, and unpinned after that
 *   DRAIN_IN_RELEASE	the last close drains the queue itself
 *   INTREE		the in-tree driver: the last close clears the file pointer,
 *			a worker looks at it when it gets to the request
 */

#ifndef REQUESTS
#define REQUESTS	3
#endif

/* Where an assertion fails, the name in it says which promise was broken. */
#ifndef ONLY
#define ONLY		0
#endif
hidden byte no_P1 = (ONLY && ONLY != 1);
hidden byte no_P3 = (ONLY && ONLY != 3);
hidden byte no_P4 = (ONLY && ONLY != 4);
hidden byte no_P5 = (ONLY && ONLY != 5);
hidden byte no_P6 = (ONLY && ONLY != 6);
hidden byte no_P7 = (ONLY && ONLY != 7);
hidden byte no_P8 = (ONLY && ONLY != 8);

mtype = { UNBOUND, BOUND, DRAINING, REMOVING };

/* Who closes. A killed task may give up waiting, a kernel thread does not wait. */
mtype = { TASK, KILLED, KTHREAD };

/* Bindings, handles, files and owners share a number; 0 is none. */
#ifdef BINDER
#define NR	4
#else
#define NR	3
#endif

/* Block layer. */
byte open_mutex;		/* 1 + the process that holds it */
byte openers = 1;
byte entered;			/* requests that have been in the queue */
byte q_usage;			/* requests that are in it */
byte frozen;			/* freezes that go on */
byte tags;			/* driver tags in use */
bool disk_dead;			/* deleted: nothing gets in any more */
#ifdef FROZEN
bool thawed;			/* the lower filesystem lets requests through */
#else
#define thawed		true
#endif

/* struct sloop_device */
byte dev_lock;			/* 1 + the process that holds it */
mtype state = BOUND;
byte backing = 1;
byte dev_owner = 1;
bool autoclear;
bool fence_up;
bool fence_pending, fence_running;
bool unbind_pending, unbind_running;

/* struct sloop_backing */
bool retired[NR];
byte pins[NR];
byte file_refs[NR];
bool fput_delayed[NR];		/* the last fput() was a kernel thread's */

/* struct sloop_owner */
byte owner_refs[NR];
byte backing_file[NR];
bool done[NR];
bool owner_fput_delayed[NR];

/* Nothing in the driver knows these: they are what the promises are about. */
byte era = 1;			/* who enters the queue now means this binding */
bool closing[NR];		/* its last close has begun */

#define lock(mutex)	mutex == 0 -> mutex = _pid + 1
#define unlock(mutex)	mutex = 0

/*
 * What keeps the module and the device's memory, if somebody would remove them.
 * P7: code of the module runs. P1: it looks at the device.
 */
#ifdef REMOVE
byte mod_refs = 2;		/* the user's, the binding's */
bool going;			/* past the point where try_module_get() works */
bool unloaded;
byte disk_refs = 2;		/* the driver's, the user's */
bool dev_freed;
bool visible = true;
byte workers;			/* work items of dev->wq */

#define DISK_GONE	(disk_dead || going)

inline module_code()
{
	assert(no_P7 || !unloaded)
}

inline device_code()
{
	assert(no_P7 || !unloaded);
	assert(no_P1 || !dev_freed)
}

inline queue_work()
{
	workers++
}

inline module_get()
{
	mod_refs++
}

inline module_put()
{
	mod_refs--
}

inline get_device()
{
	disk_refs++
}

/* sloop_free_disk() waits for the last instructions of the workers. */
inline put_device()
{
	atomic {
		disk_refs--;
		if
		:: disk_refs == 0 ->
			workers == 0;
			dev_freed = true
		:: else
		fi
	}
}
#else
#define module_code()	skip
#define device_code()	skip
#define queue_work()	skip
#define module_get()	skip
#define module_put()	skip
#define get_device()	skip
#define put_device()	skip
#define DISK_GONE	false
#endif

/*
 * P5: what follows may wait for I/O. dev->lock is in it because the last closer
 * takes that under open_mutex; only who has the device open may hold it so long.
 */
inline may_wait()
{
	assert(no_P5 || (open_mutex != _pid + 1 && dev_lock != _pid + 1))
}

inline sloop_state_set(new)
{
	assert((state == UNBOUND && (new == BOUND || new == REMOVING)) ||
	       (state == BOUND && new == DRAINING) ||
	       (state == DRAINING && new == UNBOUND) ||
	       (state == REMOVING && new == UNBOUND));
	state = new
}

/*
 * backing.c
 */

inline fput(f, kthread)
{
	assert(file_refs[f] > 0);
	file_refs[f]--;
	fput_delayed[f] = (file_refs[f] == 0 && kthread)
}

/* P1 and P4: a request is with the file. */
inline touch(f)
{
	assert(no_P1 || f);		/* NULL */
	assert(no_P1 || file_refs[f]);	/* freed */
	assert(no_P4 || f == meant || !meant || !f)
}

inline sloop_backing_create(n)
{
	file_refs[n] = 1
}

inline sloop_backing_put(n, kthread)
{
	fput(n, kthread)
}

inline sloop_backing_publish(n)
{
	backing = n
}

/* sloop_backing_pin() is two steps: these. */
inline sloop_backing_pin_count(n)
{
	pins[n]++
}

inline sloop_backing_pin_look(n, pinned)
{
	if
	:: !retired[n] -> pinned = true
	:: else -> pins[n]--
	fi
}

inline sloop_backing_unpin(n)
{
	pins[n]--
}

inline sloop_backing_retire(n)
{
	retired[n] = true
}

#define sloop_backing_pinned(n)	(pins[n] > 0)

/*
 * io-submit.c, io-lane.c
 */

#if defined(ELEVATOR) && !defined(NO_ELEVATOR_LOOK)
#define sloop_dev_busy()	true
#else
#define sloop_dev_busy()	(tags > 0)
#endif

/*
 * A request, and after that the worker that serves it. All requests are alike, so
 * it does for all orders that they enter the queue in the order of their numbers.
 */
proctype request(byte number)
{
	byte meant, n;
	bool early, pinned;

	/* blk_queue_enter() */
	if
	:: atomic {
		frozen == 0 && !disk_dead && entered == number ->
		entered++;
		q_usage++;
		meant = era
	   }
#ifdef REMOVE
	:: disk_dead -> goto out
#endif
	fi;

	/* blk_mq_get_tag(); an elevator has tags of its own */
	atomic {
		early = (era && !closing[era]);
#ifndef ELEVATOR
		tags++
#endif
	}

	/* Here for as long as a plug takes to be flushed, or not at all. */
in_plug:
#ifdef ELEVATOR
	tags++;
#endif

	/* sloop_queue_rq(), sloop_dev_pin() */
#ifdef INTREE
	atomic {
		pinned = (state == BOUND);
#else
	atomic {
		device_code();
		n = backing;
		if
		:: n -> skip
		:: !n -> goto refused
		fi
	}
	sloop_backing_pin_count(n);
	atomic {
		sloop_backing_pin_look(n, pinned);
#endif
		if
		:: pinned -> queue_work()
		:: !pinned -> goto refused
		fi
	}

	/*
	 * sloop_cmd_workfn() or sloop_lane_workfn(), sloop_cmd_end(). Who finds the
	 * file there at the end has had it all the time.
	 */
	atomic {
		thawed;
#ifdef INTREE
		n = backing;
		touch(n)
	}
	atomic {
		touch(n)
#else
		device_code();
		touch(n);
#ifndef END_FIRST
		sloop_backing_unpin(n)
#endif
#endif
	}

	/* sloop_complete_rq(), __blk_mq_free_request() */
refused:
	atomic {
		device_code();
		/* Refused: sloop_rq_late() counts it. */
		assert(no_P3 || pinned || !early);
		tags--;
		q_usage--;
#ifdef END_FIRST
	}
	atomic {
		if
		:: pinned -> sloop_backing_unpin(n)
		:: else
		fi;
#endif
#ifdef REMOVE
	}
	/* The last instructions of the worker. */
	atomic {
		if
		:: pinned ->
			module_code();
			workers--
		:: else
		fi;
#endif
		/* What is over is forgotten: there are fewer states then. */
		meant = 0;
		n = 0;
		early = false;
		pinned = false
	}
#ifdef REMOVE
out:	skip
#endif
}

/*
 * dev-unbind.c
 */

inline sloop_owner_fput(n, kthread)
{
	if
	:: backing_file[n] ->
		fput(backing_file[n], kthread);
		backing_file[n] = 0
	:: else
	fi
}

inline sloop_owner_put(n, kthread)
{
	atomic {
		device_code();
		assert(owner_refs[n] > 0);
		owner_refs[n]--;
		if
		:: owner_refs[n] == 0 ->
			sloop_owner_fput(n, kthread);
			put_device()
		:: else
		fi
	}
}

/* Comes back without an answer for a closer that does not wait to the end. */
inline sloop_owner_wait(n, kind, waited)
{
	may_wait();
	if
	:: done[n] && kind != KTHREAD -> waited = true
	:: kind != TASK -> waited = false
	fi
}

/* The VFS drops the binding's module reference when the function has returned. */
inline sloop_owner_release(n, kind, waited)
{
	atomic {
		device_code();
		sloop_owner_wait(n, kind, waited)
	}
	atomic {
		if
		:: waited ->
			waited = false;
			sloop_owner_fput(n, kind == KTHREAD)
		:: else
		fi
	}
	sloop_owner_put(n, kind == KTHREAD);
#ifdef REMOVE
	atomic {
		module_code();
		module_put()
	}
#endif
}

inline sloop_owner_create(n)
{
	if
	:: !dev_owner ->
		owner_refs[n] = 1;
		dev_owner = n
	:: else
	fi
}

/* The last fput() of the owner file is left to bdev_release(). */
inline sloop_owner_hand_over(n)
{
	atomic {
		device_code();
		get_device();
		owner_refs[n]++;
#ifndef NO_MODULE_REF
		module_get();
#endif
		assert(!unbind_pending);
		unbind_pending = true
	}
}

/* sloop_queue_is_empty(): then there is no fence. Or the limits are locked. */
inline sloop_fence_raise()
{
	if
	:: q_usage == 0 && frozen == 0 -> era = 0
	:: true ->
		assert(!fence_pending);
		fence_up = true;
		get_device();
		fence_pending = true
	fi
}

inline sloop_unbind_finish()
{
	assert(open_mutex == _pid + 1);
	atomic {
		device_code();
		sloop_backing_publish(0);
#ifdef INTREE
		era = 0
#endif
	}
#ifndef INTREE
	atomic {
		device_code();
		sloop_fence_raise()
	}
#endif
	atomic {
		dev_lock == 0 ->
		device_code();
		autoclear = false;
		sloop_state_set(UNBOUND)
	}
}

/* The global work that runs what kernel threads have closed: it never waits. */
active proctype delayed_fput()
{
	byte n;
	bool flag;

end:
	do
	:: atomic {
		if
		:: owner_fput_delayed[1] -> n = 1
		:: owner_fput_delayed[2] -> n = 2
#ifdef BINDER
		:: owner_fput_delayed[3] -> n = 3
#endif
		fi;
		owner_fput_delayed[n] = false
	   }
	   sloop_owner_release(n, KTHREAD, flag);
	   n = 0
	od
}

#ifndef INTREE
active proctype sloop_fence_workfn()
{
end:
	do
	:: atomic {
		fence_pending ->
		fence_pending = false;
		fence_running = true;
		device_code();
		may_wait()
#ifndef NO_FENCE
		; frozen++
#endif
	   }
	   /* Who enters from now on is nobody's. */
	   atomic {
#ifndef NO_FENCE
		q_usage == 0;
		frozen--;
#endif
		era = 0
	   }
	   atomic {
		fence_up = false;
		put_device();
#ifndef REMOVE
		fence_running = false
#endif
	   }
#ifdef REMOVE
	   atomic {
		module_code();
		fence_running = false
	   }
#endif
	od
}

active proctype sloop_unbind_workfn()
{
	byte owner, n;

end:
	do
	:: atomic {
		unbind_pending ->
		unbind_pending = false;
		unbind_running = true;
		device_code();
		owner = dev_owner;
		may_wait();
		frozen++
	   }
	   atomic {
		q_usage == 0;
		n = backing;
		sloop_backing_retire(n);
		assert(!sloop_backing_pinned(n));
		frozen--
	   }

	   atomic {
		lock(open_mutex);
		device_code();
#ifndef NO_CLOSER_FPUT
		file_refs[n]++;
		backing_file[owner] = n;
#endif
		dev_owner = 0
	   }
	   sloop_unbind_finish();
	   atomic {
		unlock(open_mutex);
		sloop_backing_put(n, true)
	   }

	   done[owner] = true;
	   sloop_owner_put(owner, true);
#if defined(REMOVE) && !defined(NO_MODULE_REF)
	   atomic {
		module_code();
		module_put()
	   }
#endif
	   atomic {
		module_code();
		unbind_running = false;
		owner = 0;
		n = 0
	   }
	od
}
#endif

inline sloop_try_retire(n, fast)
{
#if defined(INTREE)
	fast = true
#elif defined(RETIRE_AFTER_LOOK)
	if
	:: sloop_dev_busy() -> skip
	:: !sloop_dev_busy() ->
		if
		:: sloop_backing_pinned(n) -> skip
		:: !sloop_backing_pinned(n) ->
			sloop_backing_retire(n);
			fast = true
		fi
	fi
#else
	if
#ifdef NO_TAG_LOOK
	:: true ->
#else
	:: sloop_dev_busy() -> skip
	:: !sloop_dev_busy() ->
#endif
		if
		:: sloop_backing_pinned(n) -> skip
		:: !sloop_backing_pinned(n) ->
			sloop_backing_retire(n);
			fast = !sloop_backing_pinned(n)
		fi
	fi
#endif
}

/* Under dev->lock. If this is to be a detach, "own" is the owner and "n" the handle. */
inline sloop_last_close_begin(own, n)
{
	dev_lock == 0 ->
	device_code();
	if
	:: state == BOUND && autoclear -> sloop_state_set(DRAINING)
	:: else
	fi;
	if
	:: state == DRAINING ->
		own = dev_owner;
		n = backing;
		closing[n] = true
	:: else
	fi
}

inline sloop_last_close(own, n, fast, kind)
{
	if
	:: own ->
		sloop_try_retire(n, fast);
#ifdef DRAIN_IN_RELEASE
		if
		:: !fast ->
			may_wait();
			frozen++;
			atomic {
				q_usage == 0;
				sloop_backing_retire(n);
				frozen--
			}
			fast = true
		:: else
		fi;
#endif
		if
		:: fast ->
			sloop_unbind_finish();
			atomic {
				sloop_backing_put(n, kind == KTHREAD);
				fast = false;
				own = 0;
				module_code();
				module_put()
			}
		:: else ->
			sloop_owner_hand_over(own)
		fi
	:: else
	fi
}

inline sloop_clr_fd()
{
	atomic {
		dev_lock == 0 ->
		device_code();
		if
		:: state == BOUND ->
			autoclear = true;
			if
			:: openers == 1 -> sloop_state_set(DRAINING)
			:: else
			fi
		:: else
		fi
	}
}

/* What close(2), umount(2) and exit come to. */
inline bdev_release(own, n, fast, kind, waited)
{
	atomic {
#ifdef CLOSER
		kind = CLOSER;
#else
		if
		:: kind = TASK
		:: kind = KILLED
		:: kind = KTHREAD
		fi;
#endif
		lock(open_mutex);
		openers--;
		if
		:: openers == 0 -> sloop_last_close_begin(own, n)
		:: else
		fi
	}
	sloop_last_close(own, n, fast, kind);
	atomic {
		module_code();
		unlock(open_mutex);
		module_put();
		put_device()
	}

	if
	:: own && kind == KTHREAD ->
		owner_fput_delayed[own] = true
	:: own && kind != KTHREAD ->
		sloop_owner_release(own, kind, waited)
	:: else
	fi;
	/* P6: back to user space */
	assert(no_P6 || kind != TASK || n == 0 ||
	       (file_refs[n] == 0 && !fput_delayed[n]));
	atomic {
		own = 0;
		n = 0;
		kind = 0
	}
}

/*
 * dev-open.c
 */

inline sloop_open(opened)
{
	device_code();
	if
#ifdef NO_OPEN_CHECK
	:: state == REMOVING -> skip
	:: state != REMOVING -> opened = true
#else
	:: state == DRAINING || state == REMOVING -> skip
	:: state == UNBOUND || state == BOUND -> opened = true
#endif
	fi
}

/* Between the state and the count, sloop_dev_condemn() may get through. */
inline bdev_open(opened)
{
	atomic {
		if
		:: DISK_GONE -> skip
		:: !DISK_GONE ->
			get_device();
			module_get();
			lock(open_mutex);
			if
			:: disk_dead -> skip
			:: !disk_dead -> sloop_open(opened)
			fi;
			if
			:: !opened ->
				unlock(open_mutex);
				module_put();
				put_device()
			:: else
			fi
		fi
	}
	if
	:: opened ->
		atomic {
			openers++;
			assert(no_P8 || !backing || !retired[backing]);
			unlock(open_mutex)
		}
	:: else
	fi
}

/*
 * dev-bind.c
 */

/* With sloop_bind_wait() and the loop around both, in sloop_bind(). */
inline sloop_bind_lock(locked)
{
	do
	:: state != UNBOUND -> break
	:: state == UNBOUND ->
		may_wait();
		!fence_up;
		atomic { lock(dev_lock) };
		if
#ifdef NO_BIND_RECHECK
		:: true ->
#else
		:: state != UNBOUND || fence_up -> unlock(dev_lock)
		:: state == UNBOUND && !fence_up ->
#endif
			locked = true;
			break
		fi
	od
}

inline sloop_bind_commit(n)
{
	module_get();
#ifdef CLR_FD
	if
	:: autoclear = true
	:: autoclear = false
	fi;
#else
	autoclear = true;
#endif
	era = n;
	sloop_backing_publish(n)
}

inline sloop_bind(n, locked)
{
	sloop_bind_lock(locked);
	if
	:: locked ->
		locked = false;
		atomic {
			device_code();
			sloop_owner_create(n);
			sloop_backing_create(n);
			sloop_bind_commit(n)
		}
		atomic {
			sloop_state_set(BOUND);
			unlock(dev_lock)
		}
	:: else
	fi
}

/* Has the device open, bound to file 1; detaches it, and does so with file 2. */
proctype user()
{
	byte own, n;
	bool flag, again = true;
	mtype kind;

	do
	:: true ->
#ifdef CLR_FD
		if
		:: autoclear || state != BOUND
		:: else -> sloop_clr_fd()
		fi;
#endif
		bdev_release(own, n, flag, kind, flag);
		if
		:: again -> again = false
		:: else -> break
		fi;

		state == UNBOUND || state == REMOVING;
		bdev_open(flag);
		if
		:: flag -> flag = false
		:: else -> break
		fi;
		sloop_bind(2, flag)
	od
}

/*
 * Opens at any time. If the lower filesystem is frozen, it thaws it, after its try
 * to open: what waits for I/O under open_mutex waits for ever.
 */
proctype opener()
{
	byte own, n;
	bool flag;
	mtype kind;

	bdev_open(flag);
#ifdef FROZEN
	thawed = true;
#endif
	if
	:: flag ->
		flag = false;
#ifdef BINDER
		sloop_bind(3, flag);
#ifdef CLR_FD
		if
		:: autoclear || state != BOUND
		:: else -> sloop_clr_fd()
		fi;
#endif
#endif
		bdev_release(own, n, flag, kind, flag)
	:: else
	fi
}

#ifdef REMOVE
/*
 * dev-add.c, main.c
 */

inline sloop_dev_remove()
{
	may_wait();
	/* flush_work(), del_gendisk() */
	atomic {
		!fence_pending && !fence_running;
		lock(open_mutex);
		disk_dead = true;
		frozen++;
		unlock(open_mutex)
	}
	atomic {
		q_usage == 0;
		put_device()
	}
}

inline sloop_dev_condemn(condemned)
{
	atomic {
		dev_lock == 0 ->
		device_code();
		if
		:: state != UNBOUND || openers > 0 -> skip
		:: state == UNBOUND && openers == 0 ->
			sloop_state_set(REMOVING);
			condemned = true
		fi
	}
}

/* Killed while it waits for the fence. */
inline sloop_dev_reprieve(condemned)
{
	atomic {
		condemned && dev_lock == 0 && (fence_pending || fence_running) ->
		device_code();
		sloop_state_set(UNBOUND);
		condemned = false
	}
}

/* The control node is open meanwhile. */
proctype sloop_dev_ctl_remove()
{
	bool condemned;

	if
	:: atomic {
		!going ->
		module_get();
		visible = false
	   }
	:: atomic { going -> goto out }
	fi;
	sloop_dev_condemn(condemned);
	if
	:: sloop_dev_reprieve(condemned)
	:: true
	fi;
	if
	:: condemned -> sloop_dev_remove()
	:: else -> visible = true
	fi;
	atomic {
		module_code();
		module_put()
	}
out:
	condemned = false
}

proctype safeloop_exit()
{
	/* try_stop_module() */
	atomic { mod_refs == 0 -> going = true }

	/* sloop_dev_remove_all() */
	if
	:: visible ->
		assert(no_P7 || (state == UNBOUND && !openers));
		sloop_dev_remove()
	:: else
	fi;
	/* sloop_dev_count_wait() */
	dev_freed;
#ifndef NO_EXIT_FLUSH
	/* destroy_workqueue(sloop_ctl_wq) */
	!unbind_pending && !unbind_running && !fence_pending && !fence_running;
#endif
	unloaded = true
}
#endif

init
{
	byte i;

	atomic {
		file_refs[1] = 1;
		owner_refs[1] = 1;
#ifdef CLR_FD
		if
		:: autoclear = true
		:: autoclear = false
		fi;
#else
		autoclear = true;
#endif
		do
		:: i < REQUESTS -> run request(i); i++
		:: else -> break
		od;
		i = 0;
		run user();
#ifndef ALONE
		run opener();
#endif
#ifdef REMOVE
		run sloop_dev_ctl_remove();
		run safeloop_exit()
#endif
	}
}
