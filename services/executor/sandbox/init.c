/*
 * PID 1 of a jail: puts files, starts one command at a time, tells how it ended.
 *
 * nsjail builds the walls and execs this program; everything here runs under the jail's own seccomp policy,
 * as the jail's own user. It exists because PID 1 of a namespace ignores signals it does not handle: a job that
 * were PID 1 itself could not abort(), and its status would lie (nsjail issue 263).
 *
 * Usage: init FD, where FD is one end of a stream socket to the executor. The executor sends messages of an
 * 8-byte head and a body, native byte order:
 *
 *     u32 body length, u8 kind, u8 flag, u16 count
 *     'P' put     flag 1: append; count: mode; body: path NUL content. The path is relative to the working
 *                 directory; missing parents are made.
 *     'R' run     count: strings of argv; body: u32 number of resource limits, each u32 resource, u32 zero,
 *                 u64 soft, u64 hard; then directory NUL, argv and environment as NUL-terminated strings.
 *                 Carries exactly three descriptors: standard input, output and error.
 *     'S' signal  count: signal number, for the command's process group; SIGKILL goes to all processes.
 *
 * It answers with 32 bytes: u8 kind, u8 where, u16 zero, s32 value, u64 user us, u64 system us, u64 max RSS KiB
 *
 *     'Y' ready   once, at the start
 *     'D' done    value: raw wait status of the command; by then no other process is left in the jail
 *     'E' error   value: errno; where: 'P', 'R' (message refused), 'F' (no process), 'X' (exec or what precedes it)
 *
 * The end of the socket, or a message that makes no sense, ends the jail: the executor that died takes its jobs along.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

enum { BODY_MOST = 2 << 20, STRINGS_MOST = 1024, LIMITS_MOST = 16, PATH_MOST = 256 };

struct head {
    uint32_t length;
    uint8_t kind;
    uint8_t flag;
    uint16_t count;
};

struct answer {
    uint8_t kind;
    uint8_t where;
    uint16_t zero;
    int32_t value;
    uint64_t user_us;
    uint64_t system_us;
    uint64_t max_rss_kb;
};

struct limit {
    uint32_t resource;
    uint32_t zero;
    uint64_t soft;
    uint64_t hard;
};

static int channel;
static pid_t command;           /* 0 while none runs */
static int ending;              /* command has ended; waiting for the rest to be gone */
static struct answer outcome;   /* what will be said about it */
static char body[BODY_MOST + 1];

static void die(void) {
    kill(-1, SIGKILL);
    _exit(1);
}

static void say(const struct answer *answer) {
    if (send(channel, answer, sizeof *answer, MSG_NOSIGNAL) != (ssize_t)sizeof *answer)
        die();
}

static void complain(char where, int error) {
    struct answer answer = {.kind = 'E', .where = (uint8_t)where, .value = error};
    say(&answer);
}

static void receive(void *into, size_t length) {
    char *at = into;
    while (length > 0) {
        ssize_t got = recv(channel, at, length, 0);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            die();
        at += got;
        length -= (size_t)got;
    }
}

/* Reads a head and the descriptors that came with its first byte. Descriptors nobody asked for are closed. */
static void receive_head(struct head *head, int fds[3], int *count) {
    union {
        char space[CMSG_SPACE(3 * sizeof(int))];
        struct cmsghdr align;
    } control;
    struct iovec part = {.iov_base = head, .iov_len = sizeof *head};
    struct msghdr message = {
        .msg_iov = &part, .msg_iovlen = 1, .msg_control = control.space, .msg_controllen = sizeof control.space};
    ssize_t got;
    *count = 0;
    do {
        got = recvmsg(channel, &message, MSG_CMSG_CLOEXEC);
    } while (got < 0 && errno == EINTR);
    if (got <= 0 || (message.msg_flags & MSG_CTRUNC))
        die();
    for (struct cmsghdr *c = CMSG_FIRSTHDR(&message); c != NULL; c = CMSG_NXTHDR(&message, c)) {
        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        size_t held = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < held && *count < 3; i++)
            memcpy(&fds[(*count)++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
    if ((size_t)got < sizeof *head)
        receive((char *)head + got, sizeof *head - (size_t)got);
    if (head->length > BODY_MOST)
        die();
}

static int make_parents(char *path) {
    for (char *slash = strchr(path, '/'); slash != NULL; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        int made = mkdir(path, 0755);
        *slash = '/';
        if (made < 0 && errno != EEXIST)
            return -1;
    }
    return 0;
}

static void put(const struct head *head) {
    size_t name = strnlen(body, head->length);
    if (name == 0 || name >= head->length || name > PATH_MOST || body[0] == '/') {
        complain('P', EINVAL);
        return;
    }
    const char *content = body + name + 1;
    size_t left = head->length - name - 1;
    int how = O_WRONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK;
    how |= head->flag ? O_APPEND : O_CREAT | O_EXCL;
    if (make_parents(body) < 0) {
        complain('P', errno);
        return;
    }
    int file = open(body, how, head->count & 0777);
    if (file < 0) {
        complain('P', errno);
        return;
    }
    while (left > 0) {
        ssize_t put = write(file, content, left);
        if (put < 0 && errno == EINTR)
            continue;
        if (put <= 0) {
            complain('P', put < 0 ? errno : EIO);
            break;
        }
        content += put;
        left -= (size_t)put;
    }
    close(file);
}

/* Between vfork and exec: only system calls. The parent's memory is shared, so failure is told through it. */
static volatile int start_error;

static void become(char *directory, char **argv, char **envp, const struct limit *limits, uint32_t n, const int fds[3]) {
    sigset_t none;
    sigemptyset(&none);
    if (setsid() < 0 || chdir(directory) < 0)
        goto failed;
    for (uint32_t i = 0; i < n; i++) {
        struct rlimit64 limit = {.rlim_cur = limits[i].soft, .rlim_max = limits[i].hard};
        if (prlimit64(0, (int)limits[i].resource, &limit, NULL) < 0)
            goto failed;
    }
    for (int i = 0; i < 3; i++)
        if (dup2(fds[i], i) < 0)
            goto failed;
    if (syscall(SYS_close_range, 3U, ~0U, 0U) < 0)
        goto failed;
    umask(022);
    sigprocmask(SIG_SETMASK, &none, NULL);
    execve(argv[0], argv, envp);
failed:
    start_error = errno;
    _exit(127);
}

static void run(const struct head *head, const int fds[3], int fd_count) {
    static char *strings[STRINGS_MOST + 2];
    static struct limit limits[LIMITS_MOST];
    uint32_t limit_count;
    char *at = body, *end = body + head->length;

    if (fd_count != 3 || command != 0 || head->length < sizeof limit_count)
        goto refused;
    memcpy(&limit_count, at, sizeof limit_count);
    at += sizeof limit_count;
    if (limit_count > LIMITS_MOST || (size_t)(end - at) < limit_count * sizeof *limits)
        goto refused;
    memcpy(limits, at, limit_count * sizeof *limits);
    at += limit_count * sizeof *limits;
    if (at == end || end[-1] != '\0')
        goto refused;

    char *directory = at;
    at += strlen(at) + 1;
    size_t strings_seen = 0, slots = 0;
    while (at < end) {
        if (strings_seen == head->count)
            strings[slots++] = NULL; /* argv ends, the environment begins */
        if (slots >= STRINGS_MOST)
            goto refused;
        strings[slots++] = at;
        strings_seen++;
        at += strlen(at) + 1;
    }
    if (head->count == 0 || strings_seen < head->count)
        goto refused;
    if (strings_seen == head->count)
        strings[slots++] = NULL;
    strings[slots] = NULL;

    start_error = 0;
    memset(&outcome, 0, sizeof outcome);
    ending = 0;
    pid_t child = vfork();
    if (child == 0)
        become(directory, strings, strings + head->count + 1, limits, limit_count, fds);
    if (child < 0) {
        complain('F', errno);
    } else if (start_error != 0) {
        int status;
        while (waitpid(child, &status, 0) < 0 && errno == EINTR)
            ;
        complain('X', start_error);
    } else {
        command = child;
    }
    return;
refused:
    complain('R', EINVAL);
}

static void pass_signal(int number) {
    if (command == 0 || ending || number < 1 || number > 64)
        return;
    if (number == SIGKILL)
        kill(-1, SIGKILL);
    else
        kill(-command, number);
}

/* Collects every process that has ended. Once the command is among them, everything else is killed, and the
 * outcome is told only when nothing is left: no process can then hold the pipes or burn time on a later phase. */
static void reap(void) {
    for (;;) {
        int status;
        struct rusage used;
        pid_t gone = wait4(-1, &status, WNOHANG | __WALL, &used);
        if (gone < 0 && errno == EINTR)
            continue;
        if (gone < 0) /* ECHILD: nobody left */
            break;
        if (gone == 0) {
            if (ending)
                kill(-1, SIGKILL);
            return;
        }
        if (gone != command || ending)
            continue;
        ending = 1;
        outcome.kind = 'D';
        outcome.value = status;
        outcome.user_us = (uint64_t)used.ru_utime.tv_sec * 1000000 + (uint64_t)used.ru_utime.tv_usec;
        outcome.system_us = (uint64_t)used.ru_stime.tv_sec * 1000000 + (uint64_t)used.ru_stime.tv_usec;
        outcome.max_rss_kb = (uint64_t)used.ru_maxrss;
        kill(-1, SIGKILL);
    }
    if (ending) {
        command = 0;
        ending = 0;
        say(&outcome);
    }
}

static void serve(void) {
    struct head head;
    int fds[3], fd_count;
    receive_head(&head, fds, &fd_count);
    receive(body, head.length);
    body[head.length] = '\0';
    switch (head.kind) {
    case 'P':
        put(&head);
        break;
    case 'R':
        run(&head, fds, fd_count);
        break;
    case 'S':
        pass_signal(head.count);
        break;
    default:
        die();
    }
    while (fd_count > 0)
        close(fds[--fd_count]);
}

int main(int argc, char **argv) {
    sigset_t all;
    if (argc != 2 || getpid() != 1)
        return 2;
    channel = atoi(argv[1]);
    /* A job must not be able to trace us, read our memory or take our descriptors. */
    if (prctl(PR_SET_DUMPABLE, 0, 0, 0, 0) < 0 || fcntl(channel, F_SETFD, FD_CLOEXEC) < 0)
        return 3;
    for (int number = 1; number <= 64; number++)
        signal(number, SIG_DFL); /* an ignored signal would be inherited by every command */
    sigfillset(&all);
    sigprocmask(SIG_SETMASK, &all, NULL);
    sigset_t children;
    sigemptyset(&children);
    sigaddset(&children, SIGCHLD);
    int deaths = signalfd(-1, &children, SFD_CLOEXEC | SFD_NONBLOCK);
    if (deaths < 0)
        return 4;

    struct answer ready = {.kind = 'Y'};
    say(&ready);
    for (;;) {
        struct pollfd watched[2] = {{.fd = channel, .events = POLLIN}, {.fd = deaths, .events = POLLIN}};
        if (poll(watched, 2, -1) < 0 && errno != EINTR)
            die();
        if (watched[1].revents != 0) {
            struct signalfd_siginfo told;
            while (read(deaths, &told, sizeof told) == (ssize_t)sizeof told)
                ;
            reap();
        }
        if (watched[0].revents != 0)
            serve();
    }
}
