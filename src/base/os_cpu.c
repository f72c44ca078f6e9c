/*
 * os_cpu.c — Linux: processors this process may use, its size, its name.
 *
 * The number of threads worth starting is the affinity mask cut by the cgroup's processor quota
 * (both versions), since a container usually sees every core of its host: threads past the quota
 * only get the group stopped for the rest of each period.
 */
#define _GNU_SOURCE
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/* Reads a small file of /proc or /sys; empty text when it cannot. */
static bool read_small(const char *path, char *out, size_t size)
{
    size_t used = 0;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    out[0] = '\0';
    if (fd < 0)
        return false;
    while (used < size - 1) {
        ssize_t n = read(fd, out + used, size - 1 - used);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            break;
        used += (size_t)n;
    }
    out[used] = '\0';
    close(fd);
    return used > 0;
}

static uint32_t affinity_count(void)
{
    for (int cpus = 1024; cpus <= 1 << 16; cpus *= 4) {
        cpu_set_t *set = CPU_ALLOC((size_t)cpus);
        size_t size = CPU_ALLOC_SIZE((size_t)cpus);
        if (!set)
            break;
        int rc = sched_getaffinity(0, size, set), count = rc == 0 ? CPU_COUNT_S(size, set) : 0;
        bool larger = rc != 0 && errno == EINVAL;
        CPU_FREE(set);
        if (count > 0)
            return (uint32_t)count;
        if (!larger)
            break;
    }
    long online = sysconf(_SC_NPROCESSORS_ONLN);
    return online > 0 ? (uint32_t)online : 1;
}

/* Whole processors of quota per period, rounded up; 0 when unlimited or not understood. */
static uint32_t quota_cpus(long long quota, long long period)
{
    if (quota <= 0 || period <= 0 || quota > LLONG_MAX - period)
        return 0;
    long long cpus = (quota + period - 1) / period;
    return cpus > UINT32_MAX ? 0 : (uint32_t)cpus;
}

static uint32_t quota_v2(const char *dir)
{
    char path[PATH_MAX], text[64];
    long long quota, period;
    snprintf(path, sizeof path, "%s/cpu.max", dir);
    if (!read_small(path, text, sizeof text) || sscanf(text, "%lld %lld", &quota, &period) != 2)
        return 0; /* "max 100000" is no quota */
    return quota_cpus(quota, period);
}

static uint32_t quota_v1(const char *dir)
{
    char path[PATH_MAX], text[64];
    snprintf(path, sizeof path, "%s/cpu.cfs_quota_us", dir);
    if (!read_small(path, text, sizeof text))
        return 0;
    long long quota = strtoll(text, NULL, 10);
    snprintf(path, sizeof path, "%s/cpu.cfs_period_us", dir);
    if (!read_small(path, text, sizeof text))
        return 0;
    return quota_cpus(quota, strtoll(text, NULL, 10));
}

/* The smallest quota of a group and all that hold it. Inside a container the group's own path may
 * not exist below the mount: then only the existing upper part counts, which is the container's. */
static uint32_t smallest_quota(const char *mount, const char *group, uint32_t (*read)(const char *))
{
    char dir[PATH_MAX / 2];
    uint32_t best = 0;
    size_t root = strlen(mount);
    int n = snprintf(dir, sizeof dir, "%s%s", mount, group);
    if (n < 0 || (size_t)n >= sizeof dir)
        return 0;
    for (;;) {
        uint32_t q = read(dir);
        if (q && (!best || q < best))
            best = q;
        char *slash = strrchr(dir, '/');
        if (!slash || (size_t)(slash - dir) < root)
            return best;
        *slash = '\0';
    }
}

static uint32_t cgroup_quota(void)
{
    char text[8192];
    uint32_t best = 0;
    if (!read_small("/proc/self/cgroup", text, sizeof text))
        return 0;
    for (char *line = text, *end; *line; line = end) {
        end = strchr(line, '\n');
        if (end)
            *end++ = '\0';
        else
            end = line + strlen(line);
        char *controllers = strchr(line, ':');
        char *group = controllers ? strchr(controllers + 1, ':') : NULL;
        if (!group)
            continue;
        *group++ = '\0';
        controllers++;
        uint32_t q = 0;
        if (!*controllers)
            q = smallest_quota("/sys/fs/cgroup", group, quota_v2);
        else if (strcmp(controllers, "cpu,cpuacct") == 0 || strcmp(controllers, "cpuacct,cpu") == 0)
            q = smallest_quota("/sys/fs/cgroup/cpu,cpuacct", group, quota_v1);
        else if (strcmp(controllers, "cpu") == 0)
            q = smallest_quota("/sys/fs/cgroup/cpu", group, quota_v1);
        if (q && (!best || q < best))
            best = q;
    }
    return best;
}

uint32_t quern__cpu_count(void)
{
    uint32_t cpus = affinity_count(), quota = cgroup_quota();
    return quota && quota < cpus ? quota : cpus;
}

uint64_t quern__os_resident(void)
{
    char text[128];
    unsigned long long total, resident;
    long page = sysconf(_SC_PAGESIZE);
    if (!read_small("/proc/self/statm", text, sizeof text) ||
        sscanf(text, "%llu %llu", &total, &resident) != 2)
        return 0;
    return resident * (uint64_t)page;
}

uint32_t quern__os_pid(void)
{
    return (uint32_t)getpid();
}

void quern__os_hostname(char *out, size_t size)
{
    if (!size)
        return;
    if (gethostname(out, size) != 0)
        snprintf(out, size, "localhost");
    out[size - 1] = '\0';
}

uint64_t quern__os_entropy(void)
{
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    uint64_t x = (uint64_t)t.tv_sec * 1000000007u ^ (uint64_t)t.tv_nsec << 20;
    x ^= (uint64_t)getpid() << 40 ^ (uint64_t)(uintptr_t)&t;
    x = (x ^ x >> 30) * 0xBF58476D1CE4E5B9u;
    return x ^ x >> 31;
}

bool quern__os_amx_permit(void)
{
#if defined(__x86_64__) && defined(SYS_arch_prctl)
    enum { REQ_XCOMP_PERM = 0x1023, XTILEDATA = 18 };
    return syscall(SYS_arch_prctl, REQ_XCOMP_PERM, XTILEDATA) == 0;
#else
    return false;
#endif
}

void quern__os_hwcap(uint64_t *first, uint64_t *second)
{
    *first = getauxval(AT_HWCAP);
    *second = getauxval(AT_HWCAP2);
}

const char *quern__env(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

void quern__os_error_text(int error_number, char *out, size_t size)
{
    /* The GNU form returns the text, which may or may not lie in the buffer. */
    char text[128];
    snprintf(out, size, "%s", strerror_r(error_number, text, sizeof text));
}
