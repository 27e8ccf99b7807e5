/* A libnvidia-ml.so.1 without a GPU: NVML's C interface, answered from a text file that a test writes.
 *
 * The file is named by NVML_STANDIN and is read anew at each call, so a test changes readings while they are read.
 * Lines are `key=value`; the first line with a key counts:
 *
 *   init=9                    what nvmlInit returns (0 if absent); also driver=580.65.06
 *   uninitialized=1           every call but init answers UNINITIALIZED, until the next init after the line is gone
 *   gpu0.uuid=GPU-...         a device is there if it has a uuid; gpu0.lost=15 makes all of its calls fail with that
 *   gpu0.power=350000         a value in NVML's own unit; an absent one is NOT_SUPPORTED (3)
 *   gpu0.power.error=4        that call fails with this
 *   gpu0.mig2.uuid=MIG-...    an instance in slot 2; gpu0.mig=1 is the mode, gpu0.migs=7 the number of slots
 *   event1=0 79               the first event: XID 79 on device 0; event2 is waited for after it, and so on
 *
 * With -DOLD_DRIVER the functions that drivers of before 2024 lack are left out.
 */
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum {
    SUCCESS = 0, UNINITIALIZED = 1, INVALID_ARGUMENT = 2, NOT_SUPPORTED = 3, NOT_FOUND = 6, INSUFFICIENT_SIZE = 7,
    TIMEOUT = 10, ARGUMENT_VERSION_MISMATCH = 25
};
typedef int nvmlReturn_t;
typedef void *nvmlDevice_t;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static int references = 0;
static int registered = 0; /* bit mask of devices */
static int events_read = 0; /* of the file `events_of` */
static char events_of[512] = "";

/* ---- the file ---- */

static int find(const char *key, char *out, size_t size) {
    const char *path = getenv("NVML_STANDIN");
    FILE *file = path ? fopen(path, "r") : NULL;
    if (!file) return 0;
    char line[512];
    size_t length = strlen(key);
    int found = 0;
    while (!found && fgets(line, sizeof line, file)) {
        line[strcspn(line, "\n")] = 0;
        if (strncmp(line, key, length) == 0 && line[length] == '=') {
            snprintf(out, size, "%s", line + length + 1);
            found = 1;
        }
    }
    fclose(file);
    return found;
}

static long long number(const char *key, long long otherwise) {
    char text[512];
    return find(key, text, sizeof text) ? strtoll(text, NULL, 10) : otherwise;
}

/* ---- devices: a handle is 1 + index * 64, plus 1 + slot for an instance ---- */

static nvmlDevice_t handle_of(unsigned index, int slot) { return (nvmlDevice_t)(uintptr_t)(64 + index * 64 + slot + 1); }
static unsigned index_of(nvmlDevice_t device) { return ((unsigned)(uintptr_t)device - 64) / 64; }
static int slot_of(nvmlDevice_t device) { return (int)(((uintptr_t)device - 64) % 64) - 1; }

static void prefix(nvmlDevice_t device, char *out, size_t size) {
    if (slot_of(device) < 0) snprintf(out, size, "gpu%u", index_of(device));
    else snprintf(out, size, "gpu%u.mig%d", index_of(device), slot_of(device));
}

static nvmlReturn_t alive(void) {
    return references > 0 && !number("uninitialized", 0) ? SUCCESS : UNINITIALIZED;
}

/* Whether `call` on this device works; its value as text. */
static nvmlReturn_t text_of(nvmlDevice_t device, const char *call, char *out, size_t size) {
    char name[64], key[128], value[512];
    if (alive() != SUCCESS) return UNINITIALIZED;
    snprintf(key, sizeof key, "gpu%u.lost", index_of(device));
    if (number(key, 0)) return (int)number(key, 0);
    prefix(device, name, sizeof name);
    snprintf(key, sizeof key, "%s.%s.error", name, call);
    if (number(key, 0)) return (int)number(key, 0);
    snprintf(key, sizeof key, "%s.%s", name, call);
    if (!find(key, value, sizeof value)) return NOT_SUPPORTED;
    if (strlen(value) >= size) return INSUFFICIENT_SIZE;
    strcpy(out, value);
    return SUCCESS;
}

static nvmlReturn_t value_of(nvmlDevice_t device, const char *call, unsigned long long *out) {
    char text[512];
    nvmlReturn_t code = text_of(device, call, text, sizeof text);
    if (code == SUCCESS) *out = strtoull(text, NULL, 10);
    return code;
}

static nvmlReturn_t unsigned_of(nvmlDevice_t device, const char *call, unsigned *out) {
    unsigned long long value;
    nvmlReturn_t code = value_of(device, call, &value);
    if (code == SUCCESS) *out = (unsigned)value;
    return code;
}

/* ---- lifecycle ---- */

nvmlReturn_t nvmlInitWithFlags(unsigned flags) {
    (void)flags;
    nvmlReturn_t code = (int)number("init", 0);
    if (code == SUCCESS) references++;
    return code;
}
nvmlReturn_t nvmlShutdown(void) {
    if (references == 0) return UNINITIALIZED;
    if (--references == 0) registered = 0;
    return SUCCESS;
}
nvmlReturn_t nvmlSystemGetDriverVersion(char *out, unsigned size) {
    if (alive() != SUCCESS) return UNINITIALIZED;
    return find("driver", out, size) ? SUCCESS : NOT_SUPPORTED;
}
const char *nvmlErrorString(nvmlReturn_t code) {
    (void)code;
    return "an error of the stand-in";
}

/* ---- which devices ---- */

nvmlReturn_t nvmlDeviceGetCount_v2(unsigned *count) {
    char key[64], text[512];
    if (alive() != SUCCESS) return UNINITIALIZED;
    for (*count = 0;; (*count)++) {
        snprintf(key, sizeof key, "gpu%u.uuid", *count);
        if (!find(key, text, sizeof text)) return SUCCESS;
    }
}
nvmlReturn_t nvmlDeviceGetHandleByIndex_v2(unsigned index, nvmlDevice_t *device) {
    unsigned count;
    char key[64];
    nvmlReturn_t code = nvmlDeviceGetCount_v2(&count);
    if (code != SUCCESS) return code;
    if (index >= count) return INVALID_ARGUMENT;
    snprintf(key, sizeof key, "gpu%u.handle.error", index);
    if (number(key, 0)) return (int)number(key, 0);
    *device = handle_of(index, -1);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetUUID(nvmlDevice_t device, char *out, unsigned size) { return text_of(device, "uuid", out, size); }
nvmlReturn_t nvmlDeviceGetName(nvmlDevice_t device, char *out, unsigned size) { return text_of(device, "name", out, size); }

/* ---- readings ---- */

typedef struct { unsigned gpu, memory; } nvmlUtilization_t;
nvmlReturn_t nvmlDeviceGetUtilizationRates(nvmlDevice_t device, nvmlUtilization_t *out) {
    nvmlReturn_t code = unsigned_of(device, "utilization", &out->gpu);
    if (code != SUCCESS) return code;
    if (unsigned_of(device, "memory_utilization", &out->memory) != SUCCESS) out->memory = 0;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetEncoderUtilization(nvmlDevice_t device, unsigned *percent, unsigned *period) {
    *period = 167000;
    return unsigned_of(device, "encoder", percent);
}
nvmlReturn_t nvmlDeviceGetDecoderUtilization(nvmlDevice_t device, unsigned *percent, unsigned *period) {
    *period = 167000;
    return unsigned_of(device, "decoder", percent);
}

typedef struct { unsigned long long total, free, used; } nvmlMemory_t;
typedef struct { unsigned version; unsigned long long total, reserved, free, used; } nvmlMemory_v2_t;
nvmlReturn_t nvmlDeviceGetMemoryInfo(nvmlDevice_t device, nvmlMemory_t *out) {
    nvmlReturn_t code = value_of(device, "memory_total", &out->total);
    if (code != SUCCESS) return code;
    if ((code = value_of(device, "memory_free", &out->free)) != SUCCESS) return code;
    out->used = out->total - out->free;
    return SUCCESS;
}
#ifndef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetMemoryInfo_v2(nvmlDevice_t device, nvmlMemory_v2_t *out) {
    nvmlMemory_t first;
    if (out->version != (sizeof(nvmlMemory_v2_t) | 2u << 24)) return ARGUMENT_VERSION_MISMATCH;
    nvmlReturn_t code = nvmlDeviceGetMemoryInfo(device, &first);
    if (code != SUCCESS) return code;
    out->total = first.total;
    out->free = first.free;
    if (value_of(device, "memory_reserved", &out->reserved) != SUCCESS) out->reserved = 0;
    out->used = first.used - out->reserved; /* as drivers do that do not count what is reserved as used */
    return SUCCESS;
}
#endif

nvmlReturn_t nvmlDeviceGetPowerUsage(nvmlDevice_t device, unsigned *out) { return unsigned_of(device, "power", out); }
nvmlReturn_t nvmlDeviceGetEnforcedPowerLimit(nvmlDevice_t device, unsigned *out) { return unsigned_of(device, "power_limit", out); }
nvmlReturn_t nvmlDeviceGetTotalEnergyConsumption(nvmlDevice_t device, unsigned long long *out) { return value_of(device, "energy", out); }

#ifdef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetTemperature(nvmlDevice_t device, int sensor, unsigned *out) {
    return sensor == 0 ? unsigned_of(device, "temperature", out) : INVALID_ARGUMENT;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksThrottleReasons(nvmlDevice_t device, unsigned long long *out) { return value_of(device, "reasons", out); }
#else
typedef struct { unsigned version; int sensor; int temperature; } nvmlTemperature_v1_t;
nvmlReturn_t nvmlDeviceGetTemperatureV(nvmlDevice_t device, nvmlTemperature_v1_t *out) {
    unsigned value;
    if (out->version != (sizeof *out | 1u << 24)) return ARGUMENT_VERSION_MISMATCH;
    if (out->sensor != 0) return INVALID_ARGUMENT;
    nvmlReturn_t code = unsigned_of(device, "temperature", &value);
    if (code == SUCCESS) out->temperature = (int)value;
    return code;
}
nvmlReturn_t nvmlDeviceGetCurrentClocksEventReasons(nvmlDevice_t device, unsigned long long *out) { return value_of(device, "reasons", out); }
#endif

nvmlReturn_t nvmlDeviceGetClockInfo(nvmlDevice_t device, int clock, unsigned *out) {
    if (clock != 1 && clock != 2) return INVALID_ARGUMENT;
    return unsigned_of(device, clock == 1 ? "sm_clock" : "memory_clock", out);
}
nvmlReturn_t nvmlDeviceGetTotalEccErrors(nvmlDevice_t device, int type, int counter, unsigned long long *out) {
    if (counter != 0) return INVALID_ARGUMENT; /* only what is since the driver was loaded may be asked for */
    return value_of(device, type == 0 ? "ecc_corrected" : "ecc_uncorrected", out);
}
nvmlReturn_t nvmlDeviceGetRemappedRows(nvmlDevice_t device, unsigned *corrected, unsigned *uncorrected, unsigned *pending, unsigned *failure) {
    char text[512];
    nvmlReturn_t code = text_of(device, "remapped", text, sizeof text);
    if (code != SUCCESS) return code;
    return sscanf(text, "%u %u %u %u", corrected, uncorrected, pending, failure) == 4 ? SUCCESS : INVALID_ARGUMENT;
}
nvmlReturn_t nvmlDeviceGetPcieThroughput(nvmlDevice_t device, int counter, unsigned *out) {
    usleep(20000); /* the window it measures */
    return unsigned_of(device, counter == 0 ? "pcie_tx" : "pcie_rx", out);
}

typedef union { double d; unsigned ui; unsigned long ul; unsigned long long ull; long long sll; int si; unsigned short us; } nvmlValue_t;
typedef struct { unsigned fieldId, scopeId; long long timestamp, latencyUsec; int valueType; nvmlReturn_t nvmlReturn; nvmlValue_t value; } nvmlFieldValue_t;
nvmlReturn_t nvmlDeviceGetFieldValues(nvmlDevice_t device, int count, nvmlFieldValue_t *values) {
    char key[64];
    unsigned long long value;
    nvmlReturn_t code = text_of(device, "uuid", (char[512]){0}, 512);
    if (code != SUCCESS) return code;
    for (int i = 0; i < count; i++) {
        snprintf(key, sizeof key, "field%u", values[i].fieldId);
        values[i].nvmlReturn = value_of(device, key, &value);
        if (values[i].nvmlReturn != SUCCESS) continue;
        if ((values[i].fieldId == 138 || values[i].fieldId == 139) && values[i].scopeId != UINT32_MAX) {
            values[i].nvmlReturn = INVALID_ARGUMENT; /* one link only was asked for */
        } else if (values[i].fieldId == 82) {
            values[i].valueType = 1;
            values[i].value.ui = (unsigned)value;
        } else {
            values[i].valueType = 3;
            values[i].value.ull = value;
        }
    }
    return SUCCESS;
}

typedef struct { unsigned pid; unsigned long long memory; unsigned gpuInstance, computeInstance; } nvmlProcessInfo_t;
static nvmlReturn_t processes(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *out) {
    char text[512], *rest = text, *word;
    nvmlProcessInfo_t found[16];
    unsigned n = 0;
    nvmlReturn_t code = text_of(device, "processes", text, sizeof text);
    if (code != SUCCESS) return code;
    while ((word = strtok_r(rest, " ", &rest)) && n < 16) { /* pid:bytes, bytes -1 for not available */
        char *colon = strchr(word, ':');
        if (!colon) return INVALID_ARGUMENT;
        found[n].pid = (unsigned)strtoul(word, NULL, 10);
        found[n].memory = (unsigned long long)strtoll(colon + 1, NULL, 10);
        found[n].gpuInstance = found[n].computeInstance = UINT32_MAX;
        n++;
    }
    unsigned room = *count;
    *count = n;
    if (n > room) return INSUFFICIENT_SIZE;
    if (n) memcpy(out, found, n * sizeof *out);
    return SUCCESS;
}
#ifdef OLD_DRIVER
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v2(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *out) { return processes(device, count, out); }
#else
nvmlReturn_t nvmlDeviceGetComputeRunningProcesses_v3(nvmlDevice_t device, unsigned *count, nvmlProcessInfo_t *out) { return processes(device, count, out); }
#endif

/* ---- instances ---- */

nvmlReturn_t nvmlDeviceGetMigMode(nvmlDevice_t device, unsigned *current, unsigned *pending) {
    nvmlReturn_t code = unsigned_of(device, "mig", current);
    *pending = *current;
    return code;
}
nvmlReturn_t nvmlDeviceGetMaxMigDeviceCount(nvmlDevice_t device, unsigned *out) { return unsigned_of(device, "migs", out); }
nvmlReturn_t nvmlDeviceGetMigDeviceHandleByIndex(nvmlDevice_t device, unsigned slot, nvmlDevice_t *out) {
    char key[64], text[512];
    nvmlReturn_t code = text_of(device, "uuid", text, sizeof text);
    if (code != SUCCESS) return code;
    snprintf(key, sizeof key, "gpu%u.mig%u.uuid", index_of(device), slot);
    if (!find(key, text, sizeof text)) return NOT_FOUND;
    *out = handle_of(index_of(device), (int)slot);
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceGetGpuInstanceId(nvmlDevice_t device, unsigned *out) { return unsigned_of(device, "instance", out); }

/* ---- events ---- */

typedef struct { nvmlDevice_t device; unsigned long long type, data; unsigned gpuInstance, computeInstance; } nvmlEventData_t;
nvmlReturn_t nvmlEventSetCreate(void **set) {
    if (alive() != SUCCESS) return UNINITIALIZED;
    *set = &events_read;
    return SUCCESS;
}
nvmlReturn_t nvmlEventSetFree(void *set) {
    (void)set;
    return SUCCESS;
}
nvmlReturn_t nvmlDeviceRegisterEvents(nvmlDevice_t device, unsigned long long types, void *set) {
    unsigned long long supported;
    (void)set;
    nvmlReturn_t code = value_of(device, "events", &supported);
    if (code == SUCCESS && types == 8) registered |= 1 << index_of(device);
    return code;
}
nvmlReturn_t nvmlEventSetWait_v2(void *set, nvmlEventData_t *out, unsigned timeout_ms) {
    char key[64], text[512];
    unsigned index;
    unsigned long long xid;
    (void)set;
    for (unsigned waited = 0;; waited += 10) {
        if (alive() != SUCCESS) return UNINITIALIZED;
        pthread_mutex_lock(&lock);
        const char *path = getenv("NVML_STANDIN");
        if (path && strcmp(path, events_of) != 0) {
            snprintf(events_of, sizeof events_of, "%s", path);
            events_read = 0;
        }
        snprintf(key, sizeof key, "event%d", events_read + 1);
        int there = find(key, text, sizeof text) && sscanf(text, "%u %llu", &index, &xid) == 2;
        if (there) events_read++;
        pthread_mutex_unlock(&lock);
        if (there && registered & 1 << index) {
            out->device = handle_of(index, -1);
            out->type = 8;
            out->data = xid;
            out->gpuInstance = out->computeInstance = UINT32_MAX;
            return SUCCESS;
        }
        if (waited >= timeout_ms) return TIMEOUT;
        usleep(10000);
    }
}
