/* Theory of operation
 *
 * The flags of a processor, the name of a module and even a working KVM_CREATE_VM don't tell
 * whether guests run: a kernel may offer /dev/kvm and interpret each instruction. So this counts.
 * A child process gives one virtual CPU 64 KiB of memory and two endless loops, one in real mode
 * and one in long mode with paging, each of LOOP_INSTRUCTIONS instructions and one counter. A timer
 * signal makes KVM_RUN return; the counter divided by the processor time is the speed. Both modes
 * are timed as some processors run one natively and have the kernel interpret the other.
 *
 * It is a child, so that whatever the kernel does on the way harms nobody: the parent reads what
 * was reached from a shared page, at the latest when its deadline passes, and kills the child.
 * Between fork and exit the child makes system calls only (the parent may have threads). */
#include "config.h"

#include "host/micro-guest.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/kvm.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/error.h"
#include "base/fd.h"
#include "base/wait.h"
#include "host/host.h"

enum {
    MEMORY_BYTES = 64 << 10,
    CODE_AT = 0x1000,
    GDT_AT = 0x2000,
    PML4_AT = 0x3000,
    PDPT_AT = 0x4000,
    DIRECTORY_AT = 0x5000,
    SCRATCH_AT = 0x6000,
    LOOP_INSTRUCTIONS = 3,
    KICK_US = 500,
    LEAST_CPU_US = 1000,
    MOST_CPU_US = 5000,
    DECISIVE = 4,    /* times faster or slower than what matters: no need to measure on */
    WALL_FACTOR = 3, /* a loop may take this much longer by the clock than by the processor */
    END_WAIT_MS = 50,
};

enum {                        /* bits of control registers and page table entries */
       CR0_LONG = 0x80010033, /* PE MP ET NE WP PG */
       CR4_PAE = 0x20,
       EFER_LONG = 0x500, /* LME LMA */
       PAGE_TABLE = 0x3,  /* present, writable */
       PAGE_LARGE = 0x83,
};

/* add eax, 1; mov [si], eax; jmp back */
static const guint8 real_loop[] = {0x66, 0x83, 0xc0, 0x01, 0x66, 0x89, 0x04, 0xeb, 0xf7};

/* First what a kernel does and a process may not: load CR3. Then add rax, 1; mov [rsi], rax; jmp
 * back. */
static const guint8 long_loop[] = {0x0f, 0x20, 0xda, 0x0f, 0x22, 0xda, 0x48, 0x83,
                                   0xc0, 0x01, 0x48, 0x89, 0x06, 0xeb, 0xf7};

/* The child's own: its signal handler needs to find it. */
static struct kvm_run *volatile kicked;

typedef struct {
    int system_fd;
    int machine_fd;
    int cpu_fd;
    guint8 *memory;
    struct kvm_run *run;
} Machine;

static void
kick(int unused)
{
    (void)unused;
    if (kicked != NULL) {
        kicked->immediate_exit = 1;
    }
}

static gint64
clock_us(clockid_t which)
{
    struct timespec now;
    clock_gettime(which, &now);
    return (gint64)now.tv_sec * 1000000 + now.tv_nsec / 1000;
}

static gboolean
start_kicks(void)
{
    struct sigaction action = {.sa_handler = kick};
    struct itimerval timer = {{0, KICK_US}, {0, KICK_US}};
    sigset_t none;
    sigemptyset(&none);
    return sigaction(SIGALRM, &action, NULL) == 0 && sigprocmask(SIG_SETMASK, &none, NULL) == 0 &&
           setitimer(ITIMER_REAL, &timer, NULL) == 0;
}

/* A system call of a signal's victim, made again. */
static int
call(int fd, unsigned long request, void *argument)
{
    int result;
    do {
        result = ioctl(fd, request, argument);
    } while (result < 0 && errno == EINTR);
    return result;
}

static int
call_number(int fd, unsigned long request, unsigned long argument)
{
    return call(fd, request, (void *)argument);
}

static gboolean
copy_cpuid(const Machine *machine)
{
    enum { MOST = 256 };
    static union {
        struct kvm_cpuid2 head;
        guint8 space[sizeof(struct kvm_cpuid2) + MOST * sizeof(struct kvm_cpuid_entry2)];
    } list;
    list.head.nent = MOST;
    return call(machine->system_fd, KVM_GET_SUPPORTED_CPUID, &list) == 0 &&
           call(machine->cpu_fd, KVM_SET_CPUID2, &list) == 0;
}

static gboolean
create_machine(Machine *machine)
{
    machine->machine_fd = call_number(machine->system_fd, KVM_CREATE_VM, 0);
    machine->memory = mmap(NULL, MEMORY_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
                           -1, 0);
    if (machine->machine_fd < 0 || machine->memory == MAP_FAILED) {
        return FALSE;
    }
    /* Older Intel processors need this place for real mode; elsewhere it is ignored. */
    call_number(machine->machine_fd, KVM_SET_TSS_ADDR, 0xfffbd000);
    struct kvm_userspace_memory_region region = {.memory_size = MEMORY_BYTES,
                                                 .userspace_addr = (guint64)(gsize)machine->memory};
    if (call(machine->machine_fd, KVM_SET_USER_MEMORY_REGION, &region) < 0) {
        return FALSE;
    }
    machine->cpu_fd = call_number(machine->machine_fd, KVM_CREATE_VCPU, 0);
    int run_bytes = call_number(machine->system_fd, KVM_GET_VCPU_MMAP_SIZE, 0);
    if (machine->cpu_fd < 0 || run_bytes < (int)sizeof *machine->run || !copy_cpuid(machine)) {
        return FALSE;
    }
    void *run = mmap(NULL, (gsize)run_bytes, PROT_READ | PROT_WRITE, MAP_SHARED, machine->cpu_fd,
                     0);
    machine->run = run != MAP_FAILED ? run : NULL;
    return machine->run != NULL;
}

static gboolean
enter_real_mode(const Machine *machine)
{
    memcpy(machine->memory + CODE_AT, real_loop, sizeof real_loop);
    struct kvm_sregs special;
    if (call(machine->cpu_fd, KVM_GET_SREGS, &special) < 0) {
        return FALSE;
    }
    special.cs.base = 0;
    special.cs.selector = 0;
    struct kvm_regs registers = {.rip = CODE_AT, .rsi = SCRATCH_AT, .rflags = 2};
    return call(machine->cpu_fd, KVM_SET_SREGS, &special) == 0 &&
           call(machine->cpu_fd, KVM_SET_REGS, &registers) == 0;
}

static void
put_entry(const Machine *machine, guint offset, guint64 value)
{
    memcpy(machine->memory + offset, &value, sizeof value);
}

/* The first 2 MiB mapped one to one, flat segments at privilege level 0. */
static gboolean
enter_long_mode(const Machine *machine)
{
    memcpy(machine->memory + CODE_AT, long_loop, sizeof long_loop);
    put_entry(machine, GDT_AT + 8, 0x00af9b000000ffff);
    put_entry(machine, GDT_AT + 16, 0x00cf93000000ffff);
    put_entry(machine, PML4_AT, PDPT_AT | PAGE_TABLE);
    put_entry(machine, PDPT_AT, DIRECTORY_AT | PAGE_TABLE);
    put_entry(machine, DIRECTORY_AT, PAGE_LARGE);
    struct kvm_sregs special;
    if (call(machine->cpu_fd, KVM_GET_SREGS, &special) < 0) {
        return FALSE;
    }
    struct kvm_segment code = {
        .limit = 0xffffffff, .selector = 8, .type = 11, .present = 1, .s = 1, .l = 1, .g = 1};
    struct kvm_segment data = {
        .limit = 0xffffffff, .selector = 16, .type = 3, .present = 1, .db = 1, .s = 1, .g = 1};
    special.cs = code;
    special.ds = special.es = special.fs = special.gs = special.ss = data;
    special.gdt.base = GDT_AT;
    special.gdt.limit = 23;
    special.cr3 = PML4_AT;
    special.cr4 = CR4_PAE;
    special.cr0 = CR0_LONG;
    special.efer = EFER_LONG;
    struct kvm_regs registers = {.rip = CODE_AT, .rsi = SCRATCH_AT, .rflags = 2};
    return call(machine->cpu_fd, KVM_SET_SREGS, &special) == 0 &&
           call(machine->cpu_fd, KVM_SET_REGS, &registers) == 0;
}

static gboolean
is_decisive(double mips)
{
    return mips >= LODGE_KVM_LEAST_MIPS * DECISIVE || mips <= LODGE_KVM_LEAST_MIPS / DECISIVE;
}

/* Let the loop run until its speed is known. FALSE if it ended or could not be run. */
static gboolean
time_loop(const Machine *machine, double *out_mips, LodgeMicroGuest *report)
{
    gint64 wall_start = clock_us(CLOCK_MONOTONIC);
    gint64 cpu_start = clock_us(CLOCK_THREAD_CPUTIME_ID);
    gint64 used_us;
    gboolean late;
    do {
        machine->run->immediate_exit = 0;
        int result = ioctl(machine->cpu_fd, KVM_RUN, 0);
        if (result < 0 && errno != EINTR && errno != EAGAIN) {
            return FALSE;
        }
        if (result == 0 && machine->run->exit_reason != KVM_EXIT_INTR) {
            report->exit_reason = (int)machine->run->exit_reason;
            return FALSE;
        }
        used_us = clock_us(CLOCK_THREAD_CPUTIME_ID) - cpu_start;
        late = clock_us(CLOCK_MONOTONIC) - wall_start >= MOST_CPU_US * WALL_FACTOR;
        struct kvm_regs registers;
        if (call(machine->cpu_fd, KVM_GET_REGS, &registers) < 0) {
            return FALSE;
        }
        *out_mips = (double)registers.rax * LOOP_INSTRUCTIONS / (double)MAX(used_us, 1);
    } while (!late && used_us < (is_decisive(*out_mips) ? LEAST_CPU_US : MOST_CPU_US));
    return TRUE;
}

static gboolean
measure(const char *device, LodgeMicroGuest *report)
{
    Machine machine = {.system_fd = open(device, O_RDWR | O_CLOEXEC)};
    if (machine.system_fd < 0) {
        return FALSE;
    }
    report->api_version = call_number(machine.system_fd, KVM_GET_API_VERSION, 0);
    report->stage = LODGE_MICRO_OPENED;
    if (report->api_version != KVM_API_VERSION || !create_machine(&machine)) {
        return FALSE;
    }
    /* Not earlier: kicked over and over, the creation would start over and over. */
    kicked = machine.run;
    report->stage = LODGE_MICRO_CREATED;
    if (!start_kicks() || !enter_real_mode(&machine) ||
        !time_loop(&machine, &report->real_mips, report)) {
        return FALSE;
    }
    report->stage = LODGE_MICRO_REAL_DONE;
    if (!enter_long_mode(&machine) || !time_loop(&machine, &report->long_mips, report)) {
        return FALSE;
    }
    report->stage = LODGE_MICRO_LONG_DONE;
    return TRUE;
}

/* Locks and sockets of the parent must not outlive it here: keep nothing open but @done_fd. */
G_NORETURN static void
be_child(const char *device, int done_fd, LodgeMicroGuest *report)
{
    prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (dup2(done_fd, 3) == 3) {
        syscall(SYS_close_range, 0, 2, 0);
        syscall(SYS_close_range, 4, ~0U, 0);
        done_fd = 3;
    }
    errno = 0;
    if (!measure(device, report)) {
        report->saved_errno = report->exit_reason == 0 ? errno : 0;
    }
    gssize put = write(done_fd, "", 1);
    _exit(put == 1 ? 0 : 1);
}

/* A process in the middle of a system call may take long to end; after some time it is left behind
 * rather than waited for. */
static void
end_child(pid_t pid, int pid_fd)
{
    kill(pid, SIGKILL);
    struct pollfd ended = {.fd = pid_fd, .events = POLLIN};
    if (pid_fd >= 0 && poll(&ended, 1, END_WAIT_MS) == 0) {
        return;
    }
    while (waitpid(pid, NULL, 0) < 0 && errno == EINTR) {
    }
}

struct LodgeMicroRun {
    pid_t pid;
    int pid_fd;
    int done_fd;
    gint64 deadline;
    LodgeMicroGuest *report;
};

void
lodge_micro_run_free(LodgeMicroRun *run)
{
    if (run == NULL) {
        return;
    }
    if (run->pid > 0) {
        end_child(run->pid, run->pid_fd);
    }
    lodge_fd_clear(&run->pid_fd);
    lodge_fd_clear(&run->done_fd);
    if (run->report != MAP_FAILED) {
        munmap(run->report, sizeof *run->report);
    }
    g_free(run);
}

LodgeMicroRun *
lodge_micro_run_start(const char *device, gint64 timeout_ms, GError **error)
{
    g_autoptr(LodgeMicroRun) run = g_new0(LodgeMicroRun, 1);
    run->pid_fd = run->done_fd = -1;
    run->deadline = lodge_deadline_in(timeout_ms);
    run->report = mmap(NULL, sizeof *run->report, PROT_READ | PROT_WRITE,
                       MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    int ends[2];
    if (run->report == MAP_FAILED || pipe2(ends, O_CLOEXEC) < 0) {
        lodge_error_errno(error, errno, "Preparing the KVM probe");
        return NULL;
    }
    run->done_fd = ends[0];
    lodge_autofd child_fd = ends[1];
    run->pid = fork();
    if (run->pid == 0) {
        be_child(device, child_fd, run->report);
    }
    if (run->pid < 0) {
        lodge_error_errno(error, errno, "Starting the KVM probe");
        return NULL;
    }
    run->pid_fd = (int)syscall(SYS_pidfd_open, run->pid, 0);
    return g_steal_pointer(&run);
}

gboolean
lodge_micro_run_finish(LodgeMicroRun *run, LodgeMicroGuest *out, GError **error)
{
    g_autoptr(GError) problem = NULL;
    gboolean done = lodge_wait_fd(run->done_fd, POLLIN, run->deadline, &problem);
    if (!done && !g_error_matches(problem, LODGE_ERROR, LODGE_ERROR_TIMEOUT)) {
        g_propagate_error(error, g_steal_pointer(&problem));
        return FALSE;
    }
    end_child(run->pid, run->pid_fd);
    run->pid = 0;
    *out = *run->report;
    out->timed_out = !done;
    return TRUE;
}
