/* Knows how the eight message counters of a real Flux's modules become gauges: the debug bit, the hook, the packet.
 *
 * Preloaded into a broker, it stands before flux_module_register_handlers(), which whoever runs a module calls in the
 * module's own thread or process once the handle is ready and before the module's own code. So the hook is younger
 * than the handle's watchers and older than the module's, as in brokersim/host/instrument.py.
 *
 *   BROKERSIM_HOOK      prepare, check, idle or timer:SECONDS; none counts turns and messages and sends nothing
 *   FLUX_FRIPP_STATSD   HOST:PORT, where packets go
 *   BROKERSIM_REACHED   a file that gets "+ RANK NAME" for each module reached, at its end
 *                       "- RANK NAME TURNS PACKETS" and the eight counters, as they moved while the bit was set,
 *                       and "= URI" from what a broker starts
 *
 * Without the first two nothing is done at all. Everything of Flux is found at run time: this library is mapped into
 * other programs as well (what the broker starts), and there it must not ask for what is not there.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <flux/core.h>

#ifndef FLUX_LIBRARY
#define FLUX_LIBRARY "libflux-core.so.2"
#endif

enum { MSGCOUNT = 0x1000, COUNTERS = 8, PREFIX_MAX = 256, PACKET_MAX = COUNTERS * (PREFIX_MAX + 32) };

/* The order of flux_msgcounters_t and of brokersim's packets; what was keepalive is now called control in Flux. */
static const char *const counter_names[COUNTERS] = {
    "request_tx", "request_rx", "response_tx", "response_rx", "event_tx", "event_rx", "keepalive_tx", "keepalive_rx",
};

typedef int register_f (flux_t *h, flux_error_t *error);

static struct {
    register_f *register_handlers;
    void *(*aux_get) (flux_t *h, const char *name);
    int (*aux_set) (flux_t *h, const char *name, void *aux, flux_free_f destroy);
    int (*get_rank) (flux_t *h, uint32_t *rank);
    void (*get_msgcounters) (flux_t *h, flux_msgcounters_t *counters);
    flux_reactor_t *(*get_reactor) (flux_t *h);
    flux_watcher_t *(*prepare) (flux_reactor_t *r, flux_watcher_f cb, void *arg);
    flux_watcher_t *(*check) (flux_reactor_t *r, flux_watcher_f cb, void *arg);
    flux_watcher_t *(*idle) (flux_reactor_t *r, flux_watcher_f cb, void *arg);
    flux_watcher_t *(*timer) (flux_reactor_t *r, double after, double repeat, flux_watcher_f cb, void *arg);
    void (*start) (flux_watcher_t *w);
    void (*stop) (flux_watcher_t *w);
    void (*destroy) (flux_watcher_t *w);
} flux;

static pthread_once_t once = PTHREAD_ONCE_INIT;
static int is_usable;
static int statsd = -1;
static const char *hook_name;
static double period;
static int is_silent;
static struct hook *hooks; /* those of modules that have not ended */
static pthread_mutex_t hooks_lock = PTHREAD_MUTEX_INITIALIZER;

struct hook {
    flux_t *h;
    int *mask;
    int is_on;                /* the bit was set when last looked at */
    flux_msgcounters_t last;  /* as sent last */
    unsigned long turns, packets;
    int moved[COUNTERS];      /* the counters, while the bit was set */
    struct hook *next;
    flux_watcher_t *guard;    /* in every turn: sees the bit come and go, and is the hook itself for prepare and check */
    flux_watcher_t *hook;     /* idle or timer: in the loop while the bit is set */
    uint32_t rank;
    char name[64];
    char prefix[PREFIX_MAX];
};

static void *find (void *library, const char *name, int *missing)
{
    void *found = dlsym (library, name);
    if (!found) {
        fprintf (stderr, "brokersim: this Flux has no %s; its modules are not instrumented\n", name);
        *missing = 1;
    }
    return found;
}

static void find_flux (void)
{
    void *library = dlopen (FLUX_LIBRARY, RTLD_LAZY | RTLD_NOLOAD);
    int missing = 0;
    if (!library) {
        fprintf (stderr, "brokersim: %s is not loaded here\n", FLUX_LIBRARY);
        return;
    }
#define FIND(member, name) *(void **) &flux.member = find (library, name, &missing)
    FIND (register_handlers, "flux_module_register_handlers");
    FIND (aux_get, "flux_aux_get");
    FIND (aux_set, "flux_aux_set");
    FIND (get_rank, "flux_get_rank");
    FIND (get_msgcounters, "flux_get_msgcounters");
    FIND (get_reactor, "flux_get_reactor");
    FIND (prepare, "flux_prepare_watcher_create");
    FIND (check, "flux_check_watcher_create");
    FIND (idle, "flux_idle_watcher_create");
    FIND (timer, "flux_timer_watcher_create");
    FIND (start, "flux_watcher_start");
    FIND (stop, "flux_watcher_stop");
    FIND (destroy, "flux_watcher_destroy");
#undef FIND
    is_usable = !missing;
}

/* A connected, non-blocking socket: one system call a packet, and a full buffer costs the packet, not the module. */
static int connect_statsd (const char *address)
{
    char host[256];
    const char *colon = strrchr (address, ':');
    const struct addrinfo hints = { .ai_socktype = SOCK_DGRAM };
    struct addrinfo *found;
    int fd = -1;
    if (!colon || colon == address || (size_t) (colon - address) >= sizeof (host))
        return -1;
    snprintf (host, sizeof (host), "%.*s", (int) (colon - address), address);
    if (host[0] == '[' && host[strlen (host) - 1] == ']') {
        host[strlen (host) - 1] = '\0';
        memmove (host, host + 1, strlen (host));
    }
    if (getaddrinfo (host, colon + 1, &hints, &found) != 0)
        return -1;
    fd = socket (found->ai_family, SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect (fd, found->ai_addr, found->ai_addrlen) < 0) {
        close (fd);
        fd = -1;
    }
    freeaddrinfo (found);
    return fd;
}

static void prepare_process (void)
{
    const char *address = getenv ("FLUX_FRIPP_STATSD");
    hook_name = getenv ("BROKERSIM_HOOK");
    find_flux ();
    if (!is_usable || !hook_name || !address)
        return;
    is_silent = !strcmp (hook_name, "none");
    if (!strncmp (hook_name, "timer:", 6))
        period = strtod (hook_name + 6, NULL);
    if ((statsd = connect_statsd (address)) < 0)
        fprintf (stderr, "brokersim: FLUX_FRIPP_STATSD: no socket to %s; modules are not instrumented\n", address);
}

/* Whole lines appended by one write each: brokers and module processes share the file. */
static void tell (const char *format, ...) __attribute__ ((format (printf, 1, 2)));
static void tell (const char *format, ...)
{
    const char *path = getenv ("BROKERSIM_REACHED");
    char line[320];
    va_list arguments;
    int size, fd;
    if (!path || (fd = open (path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0600)) < 0)
        return;
    va_start (arguments, format);
    size = vsnprintf (line, sizeof (line), format, arguments);
    va_end (arguments);
    if (size > 0 && (size_t) size < sizeof (line) && write (fd, line, size) < 0)
        errno = 0; /* nobody to tell */
    close (fd);
}

static void emit (struct hook *hook, int is_first)
{
    flux_msgcounters_t now;
    char packet[PACKET_MAX];
    size_t used = 0;
    const int *value = (const int *) &now;
    flux.get_msgcounters (hook->h, &now);
    if (!is_first && !memcmp (&now, &hook->last, sizeof (now)))
        return;
    hook->last = now;
    for (int i = 0; i < COUNTERS; i++)
        used += snprintf (packet + used, sizeof (packet) - used, "%s%s%s:%d|g", i ? "\n" : "", hook->prefix,
                          counter_names[i], value[i]);
    hook->packets++;
    if (send (statsd, packet, used, MSG_DONTWAIT | MSG_NOSIGNAL) < 0)
        errno = 0; /* nobody listens or the buffer is full: the next packet has the same gauges, newer */
}

static void hook_cb (flux_reactor_t *r, flux_watcher_t *w, int revents, void *arg)
{
    emit (arg, 0);
}

/* The bit came (sign -1) or went (+1): what the counters moved in between is the sum. */
static void account (struct hook *hook, int sign)
{
    flux_msgcounters_t now;
    const int *value = (const int *) &now;
    flux.get_msgcounters (hook->h, &now);
    for (int i = 0; i < COUNTERS; i++)
        hook->moved[i] += sign * value[i];
}

static void guard_cb (flux_reactor_t *r, flux_watcher_t *w, int revents, void *arg)
{
    struct hook *hook = arg;
    const int was_on = hook->is_on;
    if (!(*hook->mask & MSGCOUNT)) {
        if (was_on) {
            hook->is_on = 0;
            account (hook, +1);
            if (hook->hook)
                flux.stop (hook->hook);
        }
        return;
    }
    if (!was_on)
        account (hook, -1);
    hook->is_on = 1;
    hook->turns++;
    if (is_silent)
        return;
    if (!hook->hook)
        emit (hook, !was_on); /* the first turn sends, whatever the counters are */
    else if (!was_on) {
        memset (&hook->last, 0xff, sizeof (hook->last));
        flux.start (hook->hook);
    }
}

static void tell_end (struct hook *hook)
{
    const int *n = hook->moved;
    if (hook->is_on)
        account (hook, +1);
    hook->is_on = 0;
    tell ("- %u %s %lu %lu %d %d %d %d %d %d %d %d\n", hook->rank, hook->name, hook->turns, hook->packets, n[0], n[1],
          n[2], n[3], n[4], n[5], n[6], n[7]);
}

static void hook_destroy (void *arg)
{
    struct hook *hook = arg;
    struct hook **at = &hooks;
    pthread_mutex_lock (&hooks_lock);
    while (*at && *at != hook)
        at = &(*at)->next;
    if (*at)
        *at = hook->next;
    pthread_mutex_unlock (&hooks_lock);
    tell_end (hook);
    flux.destroy (hook->guard);
    flux.destroy (hook->hook);
    free (hook);
}

/* The mask is Flux's own (flux_register_default_methods says its name); made here so that it need not be looked for. */
static int *mask_of (flux_t *h)
{
    int *mask = flux.aux_get (h, "flux::debug_flags");
    if (!mask && (mask = calloc (1, sizeof (*mask))) && flux.aux_set (h, "flux::debug_flags", mask, free) < 0) {
        free (mask);
        mask = NULL;
    }
    return mask;
}

static int watch (struct hook *hook)
{
    flux_reactor_t *r = flux.get_reactor (hook->h);
    const int is_check = !strcmp (hook_name, "check");
    hook->guard = (is_check ? flux.check : flux.prepare) (r, guard_cb, hook);
    if (!strcmp (hook_name, "idle"))
        hook->hook = flux.idle (r, hook_cb, hook);
    else if (period > 0)
        hook->hook = flux.timer (r, period, period, hook_cb, hook);
    else if (!is_check && !is_silent && strcmp (hook_name, "prepare") != 0)
        return -1;
    if (!hook->guard)
        return -1;
    flux.start (hook->guard);
    return 0;
}

static void attach (flux_t *h)
{
    const char *name = flux.aux_get (h, "flux::name");
    struct hook *hook;
    int used;
    if (!name || !(hook = calloc (1, sizeof (*hook))))
        return;
    hook->h = h;
    snprintf (hook->name, sizeof (hook->name), "%s", name);
    if (flux.get_rank (h, &hook->rank) < 0 || !(hook->mask = mask_of (h))) {
        free (hook);
        return;
    }
    used = snprintf (hook->prefix, PREFIX_MAX, "flux.%s.%u.", name, hook->rank);
    if (used >= PREFIX_MAX || watch (hook) < 0 || flux.aux_set (h, NULL, hook, hook_destroy) < 0) {
        flux.destroy (hook->guard);
        flux.destroy (hook->hook);
        free (hook);
        return;
    }
    pthread_mutex_lock (&hooks_lock);
    hook->next = hooks;
    hooks = hook;
    pthread_mutex_unlock (&hooks_lock);
    tell ("+ %u %s\n", hook->rank, name);
}

__attribute__ ((visibility ("default")))
int flux_module_register_handlers (flux_t *h, flux_error_t *error)
{
    int result;
    pthread_once (&once, prepare_process);
    if (!flux.register_handlers) {
        errno = ENOSYS;
        return -1;
    }
    result = flux.register_handlers (h, error);
    if (result == 0 && statsd >= 0)
        attach (h);
    return result;
}

/* A module in Python leaves its handle open when its process ends. */
__attribute__ ((destructor)) static void end (void)
{
    for (struct hook *hook = hooks; hook; hook = hook->next)
        tell_end (hook);
}

/* The entry of the environment that begins with "NAME=". Not getenv: bash brings one of its own, of no use this early. */
static char **entry (const char *name)
{
    const size_t size = strlen (name);
    char **at = environ;
    while (at && *at && (strncmp (*at, name, size) || (*at)[size] != '='))
        at++;
    return at;
}

static void drop (char **at)
{
    for (; at && *at; at++)
        at[0] = at[1];
}

/* What a broker starts has this library mapped (a module may be a process of its own), but hands it on to nobody: jobs
 * are left alone. `flux` itself only runs another program in its own place, such as the one that loads a module. */
__attribute__ ((constructor)) static void forget (void)
{
    char **beneath = entry ("BROKERSIM_BENEATH");
    char **preload, *at;
    Dl_info own;
    size_t size;
    if (strstr (program_invocation_short_name, "flux-broker")) {
        setenv ("BROKERSIM_BENEATH", "1", 1);
        return;
    }
    if (!beneath || !*beneath || !strcmp (program_invocation_short_name, "flux"))
        return;
    drop (beneath);
    if (*(at = getenv ("FLUX_URI") ? getenv ("FLUX_URI") : ""))
        tell ("= %s\n", at);
    preload = entry ("LD_PRELOAD");
    if (!preload || !*preload || !dladdr ((void *) forget, &own) || !(at = strstr (*preload, own.dli_fname)))
        return;
    size = strlen (own.dli_fname);
    memmove (at, at + size, strlen (at + size) + 1);
    if (strspn (*preload + strlen ("LD_PRELOAD="), ": ") == strlen (*preload + strlen ("LD_PRELOAD=")))
        drop (preload);
}
