/* Loads the library that its argument names, and for each line of input says what the first GPU shows: USED:PID=BYTES,PID=BYTES */
#include <dlfcn.h>
#include <stdio.h>

struct memory {
	unsigned long long total, free, used;
};

struct process {
	unsigned pid;
	unsigned long long bytes;
	unsigned gi, ci;
};

int main(int argc, char **argv) {
	void *library = argc == 2 ? dlopen(argv[1], RTLD_NOW) : NULL;
	int (*init)(void), (*gpu)(unsigned, void **), (*memory)(void *, struct memory *), (*list)(void *, unsigned *, struct process *);
	char line[16];

	if (!library)
		return 1;
	*(void **)&init = dlsym(library, "nvmlInit_v2");
	*(void **)&gpu = dlsym(library, "nvmlDeviceGetHandleByIndex_v2");
	*(void **)&memory = dlsym(library, "nvmlDeviceGetMemoryInfo");
	*(void **)&list = dlsym(library, "nvmlDeviceGetComputeRunningProcesses_v2");
	while (fgets(line, sizeof line, stdin)) {
		struct memory m;
		struct process p[64];
		unsigned count = 64;
		void *device;
		int r = init();
		if (r == 0)
			r = gpu(0, &device);
		if (r == 0)
			r = memory(device, &m);
		if (r == 0)
			r = list(device, &count, p);
		if (r != 0) {
			printf("error %d\n", r);
		} else {
			printf("%llu:", m.used);
			for (unsigned i = 0; i < count; i++)
				printf("%s%u=%llu", i ? "," : "", p[i].pid, p[i].bytes);
			printf("\n");
		}
		fflush(stdout);
	}
	return 0;
}
