/*
 * A TEST DOUBLE of NVIDIA's libnvidia-ml.so.1. It is not NVIDIA's library and knows no GPU: it says what a text file says, so that
 * tests and demonstrations can show a program devices, leaks and failures that this machine hasn't. Its driver version and its
 * devices' names say that they are a double's.
 *
 * The file is named by AUTOGLM_SIDECAR_DOUBLE and read again at each call. Without one there are no devices; one without "end" is
 * torn, and what was read before stays in force. One statement a line, numbers decimal:
 *
 *   driver VERSION      cuda N           init ERROR: of nvmlInit      delay MS: before each call
 *   gpu UUID            what follows is about this GPU
 *   mig UUID GI CI      what follows is about this MIG instance of the last GPU
 *   name TEXT           bus ID           total BYTES      reserved BYTES
 *   unowned BYTES       used, by no process that is listed
 *   proc PID BYTES      mps PID BYTES    a process; BYTES -1: not available
 *   owned PID START LISTED BYTES RELEASE SEEN
 *                       memory that lives as long as a process of this machine and a while longer, so that a simulated worker's end
 *                       is seen even where it was killed. Whether PID lives is looked up at each reading: it does if
 *                       /proc/PID/stat has START as its start time (field 22) and it is no zombie. While it does, LISTED stands in
 *                       the list (0: nobody does). When it doesn't, the bytes are still used until RELEASE ms after SEEN, which is
 *                       when it was last seen to live by whoever writes the file, in ms of CLOCK_MONOTONIC: so all who read the
 *                       file agree, whenever they began.
 *   util PERCENT        temp CELSIUS     clocks BITS      recovery N       ecc N
 *   rows CORRECTED BAD PENDING FAILED
 *   error N             of each call about this device; 15 is a lost one
 *   wait N              error of waiting for its events, at once
 *   denied 1            its processes are not shown to us
 *   xid SEQ CODE GI CI  an event; delivered once, to those who registered before SEQ was there. GI, CI: -1 is none
 *   end
 *
 * -DOLD_DRIVER leaves out what drivers of about 2020 lack.
 */
#define NVML_NO_UNVERSIONED_FUNC_DEFS
#include <poll.h>
#include <pthread.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <time.h>
#include <unistd.h>

#include "nvml.h"

/* double.go has the same numbers, and refuses what has no room. */
enum { MOST_NODES = 64, MOST_PROCESSES = 64, MOST_XIDS = 32 };

struct process {
	unsigned pid;
	long long bytes;
	int mps;
};

struct xid {
	long long seq, code, gi, ci;
};

/* node is a GPU or a MIG instance. */
struct node {
	char uuid[96], name[96], bus[32];
	int parent; /* of a MIG instance: its GPU's index; else -1 */
	int instances;
	unsigned gi, ci;
	unsigned long long total, reserved, unowned, clocks, ecc;
	unsigned util, temp, recovery, rows[4];
	int error, wait, denied, processes, xids;
	struct process process[MOST_PROCESSES];
	struct xid xid[MOST_XIDS];
};

struct state {
	char driver[64];
	int cuda, init, delay, nodes;
	struct node node[MOST_NODES];
};

/* mu guards what follows: calls come from several threads. */
static pthread_mutex_t mu = PTHREAD_MUTEX_INITIALIZER;
static struct state now, coming;
static int initialised;
static char seen[MOST_NODES][96]; /* a handle is the place of a UUID in here, plus 1: it means the same after any change of the file */

static void pause_ms(int ms) {
	struct timespec t = {ms / 1000, ms % 1000 * 1000000L};
	while (ms > 0 && nanosleep(&t, &t) != 0) {
	}
}

static long long now_ms(void) {
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * 1000LL + t.tv_nsec / 1000000;
}

/* lives says whether a process is there that has this PID and this start time. */
static int lives(unsigned pid, unsigned long long start) {
	char path[40], stat[1024], *after;
	char state = 'X';
	unsigned long long began = 0;
	size_t length;
	FILE *f;

	snprintf(path, sizeof path, "/proc/%u/stat", pid);
	f = fopen(path, "re");
	if (!f)
		return 0;
	length = fread(stat, 1, sizeof stat - 1, f);
	fclose(f);
	stat[length] = 0;
	after = strrchr(stat, ')'); /* the name before it may have anything in it */
	return after && sscanf(after, ") %c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %*u %*u %*d %*d %*d %*d %*d %*d %llu", &state, &began) == 2 &&
		began == start && state != 'Z' && state != 'X';
}

/* owned takes in memory of a process that may have ended. */
static void owned(struct node *n, const struct process *listed, unsigned pid, unsigned long long start, long long release, long long seen) {
	int there = lives(pid, start);
	if (there && listed->pid != 0) {
		if (n->processes < MOST_PROCESSES)
			n->process[n->processes++] = *listed;
	} else if (there || now_ms() < seen + release) {
		n->unowned += listed->bytes;
	}
}

/* statement takes one line in; it returns 1 for "end". */
static int statement(const char *line, struct state *s) {
	static struct node none;
	struct node *n = s->nodes ? &s->node[s->nodes - 1] : &none;
	struct process p = {0};
	struct xid x = {0, 0, -1, -1};
	char uuid[96];
	unsigned gi = 0, ci = 0, pid;
	unsigned long long start;
	long long release, beat;

	if (sscanf(line, "gpu %95s", uuid) == 1 || sscanf(line, "mig %95s %u %u", uuid, &gi, &ci) == 3) {
		int gpu = s->nodes - 1;
		if (s->nodes == MOST_NODES)
			return 0;
		while (gpu >= 0 && s->node[gpu].parent >= 0)
			gpu--;
		n = &s->node[s->nodes++];
		memset(n, 0, sizeof *n);
		strcpy(n->uuid, uuid);
		strcpy(n->name, "Simulated GPU (double)");
		n->parent = -1;
		if (line[0] == 'm' && gpu >= 0) {
			n->parent = gpu;
			n->gi = gi;
			n->ci = ci;
			s->node[gpu].instances++;
		}
		return 0;
	}
	if (sscanf(line, "proc %u %lld", &p.pid, &p.bytes) == 2 || (sscanf(line, "mps %u %lld", &p.pid, &p.bytes) == 2 && (p.mps = 1))) {
		if (n->processes < MOST_PROCESSES)
			n->process[n->processes++] = p;
		return 0;
	}
	if (sscanf(line, "owned %u %llu %u %lld %lld %lld", &pid, &start, &p.pid, &p.bytes, &release, &beat) == 6) {
		owned(n, &p, pid, start, release, beat);
		return 0;
	}
	if (sscanf(line, "xid %lld %lld %lld %lld", &x.seq, &x.code, &x.gi, &x.ci) >= 2) {
		if (n->xids < MOST_XIDS)
			n->xid[n->xids++] = x;
		return 0;
	}
	sscanf(line, "driver %63s", s->driver);
	sscanf(line, "cuda %d", &s->cuda);
	sscanf(line, "init %d", &s->init);
	sscanf(line, "delay %d", &s->delay);
	sscanf(line, "name %95[^\n]", n->name);
	sscanf(line, "bus %31s", n->bus);
	sscanf(line, "total %llu", &n->total);
	sscanf(line, "reserved %llu", &n->reserved);
	sscanf(line, "unowned %llu", &n->unowned);
	sscanf(line, "util %u", &n->util);
	sscanf(line, "temp %u", &n->temp);
	sscanf(line, "clocks %llu", &n->clocks);
	sscanf(line, "recovery %u", &n->recovery);
	sscanf(line, "ecc %llu", &n->ecc);
	sscanf(line, "rows %u %u %u %u", &n->rows[0], &n->rows[1], &n->rows[2], &n->rows[3]);
	sscanf(line, "error %d", &n->error);
	sscanf(line, "wait %d", &n->wait);
	sscanf(line, "denied %d", &n->denied);
	return strcmp(line, "end\n") == 0;
}

/* watcher tells, by poll, that the file may have been written anew: it is renamed into its directory. -1: nobody can tell. */
static int watcher(void) {
	const char *path = getenv("AUTOGLM_SIDECAR_DOUBLE"), *end = path ? strrchr(path, '/') : NULL;
	char dir[4096] = ".";
	int fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
	if (end && (size_t)(end - path) < sizeof dir)
		snprintf(dir, sizeof dir, "%.*s/", (int)(end - path), path);
	if (fd >= 0 && inotify_add_watch(fd, dir, IN_MOVED_TO | IN_CLOSE_WRITE) < 0) {
		close(fd);
		return -1;
	}
	return fd;
}

/* await waits until the file may be another, ms at most. */
static void await(int fd, long long ms) {
	struct pollfd p = {fd, POLLIN, 0};
	char drop[4096];
	if (fd < 0) {
		pause_ms(ms < 50 ? (int)ms : 50);
		return;
	}
	poll(&p, 1, (int)ms);
	while (read(fd, drop, sizeof drop) > 0) {
	}
}

/* look reads the file. mu is held. */
static void look(void) {
	const char *path = getenv("AUTOGLM_SIDECAR_DOUBLE");
	FILE *f = path ? fopen(path, "re") : NULL;
	char line[256];
	if (!f)
		return;
	memset(&coming, 0, offsetof(struct state, node));
	strcpy(coming.driver, "550.54.15-double");
	coming.cuda = 12040;
	while (fgets(line, sizeof line, f))
		if (statement(line, &coming)) {
			now = coming;
			break;
		}
	fclose(f);
}

/* enter begins each call but nvmlInit: it waits as long as the file says, looks, and keeps mu. */
static nvmlReturn_t enter(void) {
	int delay;
	pthread_mutex_lock(&mu);
	look();
	delay = now.delay;
	if (delay > 0) {
		pthread_mutex_unlock(&mu);
		pause_ms(delay);
		pthread_mutex_lock(&mu);
		look();
	}
	return initialised ? NVML_SUCCESS : NVML_ERROR_UNINITIALIZED;
}

static nvmlReturn_t leave(nvmlReturn_t r) {
	pthread_mutex_unlock(&mu);
	return r;
}

static struct node *named(const char *uuid) {
	for (int i = 0; i < now.nodes; i++)
		if (strcmp(now.node[i].uuid, uuid) == 0)
			return &now.node[i];
	return NULL;
}

static struct node *behind(nvmlDevice_t d) {
	uintptr_t at = (uintptr_t)d.handle - 1;
	return at < MOST_NODES ? named(seen[at]) : NULL;
}

static nvmlReturn_t handle(const struct node *n, nvmlDevice_t *d) {
	if (n->error)
		return n->error;
	for (uintptr_t i = 0; i < MOST_NODES; i++)
		if (!seen[i][0] || strcmp(seen[i], n->uuid) == 0) {
			strcpy(seen[i], n->uuid);
			d->handle = (void *)(i + 1);
			return NVML_SUCCESS;
		}
	return NVML_ERROR_MEMORY;
}

/* ABOUT begins a call about a device: n is the node, or the function ends with an error. */
#define ABOUT(d)                                                        \
	nvmlReturn_t entered = enter();                                 \
	struct node *n = entered == NVML_SUCCESS ? behind(d) : NULL;    \
	if (entered != NVML_SUCCESS)                                    \
		return leave(entered);                                  \
	if (!n)                                                         \
		return leave(NVML_ERROR_INVALID_ARGUMENT);              \
	if (n->error)                                                   \
		return leave(n->error);                                 \
	if (n->parent >= 0 && now.node[n->parent].error)                \
		return leave(now.node[n->parent].error)

/* SAYS defines a function that says one number about a device. whole: not to be had of a MIG instance. */
#define SAYS(function, type, whole, what)                               \
	nvmlReturn_t function(nvmlDevice_t d, type *out) {              \
		ABOUT(d);                                               \
		if (whole && n->parent >= 0)                            \
			return leave(NVML_ERROR_NOT_SUPPORTED);         \
		*out = what;                                            \
		return leave(NVML_SUCCESS);                             \
	}

static nvmlReturn_t text(char *to, unsigned length, const char *from) {
	if (strlen(from) >= length)
		return leave(NVML_ERROR_INSUFFICIENT_SIZE);
	strcpy(to, from);
	return leave(NVML_SUCCESS);
}

static unsigned long long used(const struct node *n) {
	unsigned long long sum = n->unowned;
	for (int i = 0; i < n->processes; i++)
		sum += n->process[i].bytes > 0 ? n->process[i].bytes : 0;
	for (int i = 0; i < now.nodes; i++)
		if (now.node[i].parent >= 0 && &now.node[now.node[i].parent] == n)
			sum += used(&now.node[i]);
	return sum;
}

nvmlReturn_t nvmlInit_v2(void) {
	nvmlReturn_t r;
	enter();
	r = now.init;
	initialised += r == NVML_SUCCESS;
	return leave(r);
}

nvmlReturn_t nvmlShutdown(void) {
	enter();
	initialised -= initialised > 0;
	return leave(NVML_SUCCESS);
}

const char *nvmlErrorString(nvmlReturn_t r) {
	(void)r;
	return "an error of the double";
}

nvmlReturn_t nvmlSystemGetDriverVersion(char *version, unsigned length) {
	nvmlReturn_t r = enter();
	return r == NVML_SUCCESS ? text(version, length, now.driver) : leave(r);
}

nvmlReturn_t nvmlSystemGetNVMLVersion(char *version, unsigned length) {
	enter();
	return text(version, length, "12.550.54.15-double");
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion(int *version) {
	nvmlReturn_t r = enter();
	*version = now.cuda;
	return leave(r);
}

nvmlReturn_t nvmlSystemGetCudaDriverVersion_v2(int *version) {
	return nvmlSystemGetCudaDriverVersion(version);
}

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
	nvmlReturn_t r = enter();
	*count = 0;
	for (int i = 0; i < now.nodes; i++)
		*count += now.node[i].parent < 0;
	return leave(r);
}

nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *d) {
	nvmlReturn_t r = enter();
	for (int i = 0; r == NVML_SUCCESS && i < now.nodes; i++)
		if (now.node[i].parent < 0 && index-- == 0)
			return leave(handle(&now.node[i], d));
	return leave(r ? r : NVML_ERROR_INVALID_ARGUMENT);
}

nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t d, char *uuid, unsigned length) {
	ABOUT(d);
	return text(uuid, length, n->uuid);
}

nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t d, char *name, unsigned length) {
	ABOUT(d);
	return text(name, length, n->name);
}

nvmlReturn_t nvmlDeviceGetPciInfo_v3(nvmlDevice_t d, nvmlPciInfo_t *pci) {
	ABOUT(d);
	memset(pci, 0, sizeof *pci);
	return text(pci->busId, sizeof pci->busId, n->bus);
}

nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t d, nvmlMemory_t *memory) {
	ABOUT(d);
	memory->total = n->total;
	memory->used = used(n) + n->reserved;
	memory->free = n->total - memory->used;
	return leave(NVML_SUCCESS);
}

static nvmlReturn_t processes(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v2_t *infos, int mps) {
	unsigned room = *count, have = 0;
	ABOUT(d);
	if (n->denied)
		return leave(NVML_ERROR_NO_PERMISSION);
	for (int i = 0; i < n->processes; i++) {
		const struct process *p = &n->process[i];
		if (p->mps != mps)
			continue;
		if (have++ < room)
			infos[have - 1] = (nvmlProcessInfo_v2_t){p->pid, (unsigned long long)p->bytes, n->parent < 0 ? ~0U : n->gi,
				n->parent < 0 ? ~0U : n->ci};
	}
	*count = have; /* also where there was no room: the caller doubles it and asks again */
	return leave(have > room ? NVML_ERROR_INSUFFICIENT_SIZE : NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_v2_t *infos) {
	return processes(d, count, infos, 0);
}

nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t d, nvmlUtilization_t *rates) {
	ABOUT(d);
	if (n->parent >= 0)
		return leave(NVML_ERROR_NOT_SUPPORTED);
	rates->gpu = rates->memory = n->util;
	return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t d, nvmlTemperatureSensors_t sensor, unsigned *temperature) {
	ABOUT(d);
	if (sensor != NVML_TEMPERATURE_GPU || n->parent >= 0)
		return leave(NVML_ERROR_INVALID_ARGUMENT);
	*temperature = n->temp;
	return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t d, nvmlMemoryErrorType_t type, nvmlEccCounterType_t counter, unsigned long long *count) {
	ABOUT(d);
	if (type != NVML_MEMORY_ERROR_TYPE_UNCORRECTED || counter != NVML_VOLATILE_ECC || n->parent >= 0)
		return leave(NVML_ERROR_NOT_SUPPORTED);
	*count = n->ecc;
	return leave(NVML_SUCCESS);
}

SAYS(nvmlDeviceGetCurrentClocksThrottleReasons, unsigned long long, 1, n->clocks)

/* Field 230 is the one that the double knows; an old driver knows none, and says so for each field. */
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t d, int count, nvmlFieldValue_t *values) {
	ABOUT(d);
	for (int i = 0; i < count; i++) {
		values[i].nvmlReturn = NVML_ERROR_NOT_SUPPORTED;
#ifndef OLD_DRIVER
		if (values[i].fieldId == NVML_FI_DEV_GET_GPU_RECOVERY_ACTION && n->parent < 0) {
			values[i].nvmlReturn = NVML_SUCCESS;
			values[i].valueType = NVML_VALUE_TYPE_UNSIGNED_INT;
			values[i].value.uiVal = n->recovery;
		}
#endif
	}
	return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t d, unsigned *current, unsigned *pending) {
	ABOUT(d);
	*current = *pending = n->instances > 0;
	return leave(NVML_SUCCESS);
}

SAYS(nvmlDeviceGetMaxMigDeviceCount, unsigned, 0, n->parent < 0 && n->instances > 0 ? 7 : 0)
SAYS(nvmlDeviceIsMigDeviceHandle, unsigned, 0, n->parent >= 0)
SAYS(nvmlDeviceGetGpuInstanceId, unsigned, 0, n->gi)
SAYS(nvmlDeviceGetComputeInstanceId, unsigned, 0, n->ci)

nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t d, unsigned index, nvmlDevice_t *instance) {
	ABOUT(d);
	for (int i = 0; i < now.nodes; i++)
		if (now.node[i].parent >= 0 && &now.node[now.node[i].parent] == n && index-- == 0)
			return leave(handle(&now.node[i], instance));
	return leave(NVML_ERROR_NOT_FOUND);
}

/* listeners is an event set: which GPUs, and the newest event of each that is not to be delivered. */
struct listeners {
	int gpus;
	char uuid[MOST_NODES][96];
	long long since[MOST_NODES];
};

nvmlReturn_t nvmlEventSetCreate(nvmlEventSet_t *set) {
	set->handle = calloc(1, sizeof(struct listeners));
	return set->handle ? NVML_SUCCESS : NVML_ERROR_MEMORY;
}

nvmlReturn_t nvmlEventSetFree(nvmlEventSet_t set) {
	free(set.handle);
	return NVML_SUCCESS;
}

SAYS(nvmlDeviceGetSupportedEventTypes, unsigned long long, 1, nvmlEventTypeXidCriticalError)

nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t d, unsigned long long types, nvmlEventSet_t set) {
	struct listeners *l = (struct listeners *)set.handle;
	ABOUT(d);
	if (types != nvmlEventTypeXidCriticalError || n->parent >= 0 || l->gpus == MOST_NODES)
		return leave(NVML_ERROR_NOT_SUPPORTED);
	strcpy(l->uuid[l->gpus], n->uuid);
	for (int i = 0; i < n->xids; i++)
		if (n->xid[i].seq > l->since[l->gpus])
			l->since[l->gpus] = n->xid[i].seq;
	l->gpus++;
	return leave(NVML_SUCCESS);
}

/* heard looks once for an event. NVML_ERROR_TIMEOUT: there is none. */
static nvmlReturn_t heard(struct listeners *l, nvmlEventData_t *data) {
	nvmlReturn_t r = enter();
	for (int g = 0; r == NVML_SUCCESS && g < l->gpus; g++) {
		const struct node *n = named(l->uuid[g]);
		if (!n)
			return leave(NVML_ERROR_GPU_IS_LOST);
		if (n->error || n->wait)
			return leave(n->error ? n->error : n->wait);
		for (int i = 0; i < n->xids; i++)
			if (n->xid[i].seq > l->since[g]) {
				l->since[g] = n->xid[i].seq;
				memset(data, 0, sizeof *data);
				data->eventType = nvmlEventTypeXidCriticalError;
				data->eventData = (unsigned long long)n->xid[i].code;
				data->gpuInstanceId = (unsigned)n->xid[i].gi;
				data->computeInstanceId = (unsigned)n->xid[i].ci;
				return leave(handle(n, &data->device));
			}
	}
	return leave(r == NVML_SUCCESS ? NVML_ERROR_TIMEOUT : r);
}

nvmlReturn_t nvmlEventSetWait_v2(nvmlEventSet_t set, nvmlEventData_t *data, unsigned timeout) {
	long long until = now_ms() + timeout, left;
	int fd = watcher();
	nvmlReturn_t r = heard((struct listeners *)set.handle, data);
	while (r == NVML_ERROR_TIMEOUT && (left = until - now_ms()) > 0) {
		await(fd, left);
		r = heard((struct listeners *)set.handle, data);
	}
	if (fd >= 0)
		close(fd);
	return r;
}

#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t d, nvmlMemory_v2_t *memory) {
	ABOUT(d);
	if (memory->version != nvmlMemory_v2)
		return leave(NVML_ERROR_ARGUMENT_VERSION_MISMATCH);
	memory->total = n->total;
	memory->reserved = n->reserved;
	memory->used = used(n);
	memory->free = n->total - memory->used - n->reserved;
	return leave(NVML_SUCCESS);
}

nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *infos) {
	return processes(d, count, infos, 0);
}

nvmlReturn_t nvmlDeviceGetMPSComputeRunningProcesses_v3(nvmlDevice_t d, unsigned *count, nvmlProcessInfo_t *infos) {
	return processes(d, count, infos, 1);
}

SAYS(nvmlDeviceGetCurrentClocksEventReasons, unsigned long long, 1, n->clocks)

nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t d, unsigned *corrected, unsigned *bad, unsigned *pending, unsigned *failed) {
	ABOUT(d);
	if (n->parent >= 0 || n->instances > 0)
		return leave(NVML_ERROR_NOT_SUPPORTED);
	*corrected = n->rows[0];
	*bad = n->rows[1];
	*pending = n->rows[2];
	*failed = n->rows[3];
	return leave(NVML_SUCCESS);
}
#endif
