/* wsload: a WebSocket load generator in one process and one thread (Linux: epoll).
 *
 *   wsload --scenario echo|fanout|connect|idle|slow --port N [--pid SERVER] [options]
 *
 * One JSON object is printed per run. The server's CPU time is read with its process CPU clock
 * (nanoseconds, all threads), which a busy machine changes far less than it changes a rate.
 * The load must be real: the accept key, the length of every answer and, until the measurement
 * begins, its bytes are compared, and whatever differs is counted as an error.
 *
 * With --port2 (and --pid2) every other subscriber goes to a second server, and the CPU time of both
 * counts; --store is the process that joins them. With --socketio 1 it speaks Socket.IO: its frames are
 * events of the name m.
 *
 * Built with -DWSLOAD_ZLIB and -lz it can offer permessage-deflate (--deflate 1); built with
 * -DWSLOAD_TLS, -lssl and -lcrypto it can speak TLS (--tls 1; the certificate is not checked). With
 * --each 1 no two messages leave in one write: a record of TLS for each, as browsers send them.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>
#ifdef WSLOAD_ZLIB
#include <zlib.h>
#endif
#ifdef WSLOAD_TLS
#include <openssl/err.h>
#include <openssl/ssl.h>
#endif

#define RING 1024  /* send times remembered per connection: the bound of --depth */
#define SPARE 64   /* connections beside --conns: the publisher and the idle warm-up */
#define BATCH 64   /* connections opened at once; stays under a listen backlog of 128 */
#define KEY "dGhlIHNhbXBsZSBub25jZQ=="          /* the sample of RFC 6455 section 1.3 */
#define ACCEPT "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

enum scenario { ECHO, FANOUT, CONNECT, IDLE, SLOW };
enum state { UNUSED, CONNECTING, GREETING, HANDSHAKE, OPEN, CLOSING, DEAD };
enum role { ROLE_ECHO, ROLE_SUB, ROLE_PUB, ROLE_SLOW, ROLE_IDLE };

typedef struct {
  int fd, id, port, want_out, answered;
  enum state state;
  enum role role;
  uint8_t *in;            /* received, not parsed yet */
  size_t in_len, in_cap;
  uint64_t skip;          /* payload bytes of a large frame that are still to come */
  int skip_fin;
  uint8_t *out;           /* to be written */
  size_t out_len, out_cap, out_pos;
  uint64_t sent_at[RING], started, received, received0;
  unsigned head, tail;
#ifdef WSLOAD_TLS
  SSL *tls;
#endif
} Conn;

static struct {
  const char *host, *path, *pub, *sub, *scenario, *header, *label;
  int port, port2, conns, depth, size, deflate, window, pid, pid2, store, count, slow, tls, each;
  int socketio;
  double duration, warmup, stall, cap, rest;
} opt = {.host = "127.0.0.1", .path = "/echo", .pub = "/pub", .sub = "/sub", .scenario = "echo",
         .header = "", .label = "", .port = 9000, .conns = 32, .depth = 1, .size = 64,
         .window = 4, .count = 100000, .slow = 1, .duration = 2, .warmup = 0.5, .stall = 8,
         .cap = 60, .rest = 1};

/* What one measurement begins and ends with. */
typedef struct {
  uint64_t at, n;
  double server_cpu, store_cpu, client_cpu;
} Mark;

static enum scenario scenario;
static int ep, measuring, stopping, deflate_used;
static Conn *conns, *publisher;
static int n_open, n_ready, n_started;
static double least_served = 1; /* answers to the worst connection over the mean (echo) */
static uint64_t n_received, n_handshakes, n_errors;
static char first_error[160];
static uint8_t *payload, *frame;
static size_t payload_len, frame_len;
#ifdef WSLOAD_ZLIB
static uint8_t *deflated_frame;
static size_t deflated_len;
#endif
static uint64_t *latency;
static size_t n_latency, latency_cap;
static uint64_t fan_sent, fan_delivered, *fan_sent_at;
static size_t fan_cap;

/* ---- clocks, memory, errors ---- */

static uint64_t now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static double client_cpu(void) {
  struct timespec t;
  clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double cpu_of(int pid) {
  clockid_t clock;
  struct timespec t;
  if (!pid || clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &t)) return 0;
  return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static double server_cpu(void) { return cpu_of(opt.pid) + cpu_of(opt.pid2); }

static long server_rss_kb(void) {
  char path[64], line[256];
  long kb = 0;
  if (!opt.pid) return 0;
  snprintf(path, sizeof path, "/proc/%d/status", opt.pid);
  FILE *f = fopen(path, "r");
  if (!f) return 0;
  while (fgets(line, sizeof line, f))
    if (!strncmp(line, "VmRSS:", 6)) { kb = atol(line + 6); break; }
  fclose(f);
  return kb;
}

static void die(const char *what) {
  fprintf(stderr, "wsload: %s: %s\n", what, strerror(errno));
  exit(2);
}

static void *grow(void *p, size_t bytes) {
  p = realloc(p, bytes);
  if (!p) die("out of memory");
  return p;
}

static void error_seen(const char *what, long detail) {
  if (!n_errors++) snprintf(first_error, sizeof first_error, "%s (%ld)", what, detail);
}

static void add_latency(uint64_t ns) {
  if (n_latency == latency_cap) {
    if (latency_cap >= (1u << 24)) return;
    latency_cap = latency_cap ? latency_cap * 2 : 65536;
    latency = grow(latency, latency_cap * sizeof *latency);
  }
  latency[n_latency++] = ns;
}

static int by_value(const void *a, const void *b) {
  uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
  return x < y ? -1 : x > y;
}

static double percentile_us(double p) {
  return n_latency ? (double)latency[(size_t)(p * (double)(n_latency - 1))] / 1000.0 : 0;
}

/* ---- frames ---- */

static size_t make_frame(uint8_t **dst, int first_byte, const uint8_t *data, size_t n) {
  static const uint8_t mask[4] = {0x37, 0xfa, 0x21, 0x3d};
  uint8_t *f = grow(NULL, n + 14);
  size_t h = 0;
  f[h++] = (uint8_t)first_byte;
  if (n < 126) {
    f[h++] = (uint8_t)(0x80 | n);
  } else if (n <= 0xffff) {
    f[h++] = 0x80 | 126;
    f[h++] = (uint8_t)(n >> 8);
    f[h++] = (uint8_t)n;
  } else {
    f[h++] = 0x80 | 127;
    for (int i = 7; i >= 0; i--) f[h++] = (uint8_t)((uint64_t)n >> (8 * i));
  }
  memcpy(f + h, mask, 4);
  h += 4;
  for (size_t i = 0; i < n; i++) f[h + i] = data[i] ^ mask[i & 3];
  *dst = f;
  return h + n;
}

static void build_frames(void) {
  static const char letters[] = "abcdefghijklmnopqrstuvwxyz0123456789 ";
  const char *before = opt.socketio ? "42[\"m\",\"" : "", *after = opt.socketio ? "\"]" : "";
  size_t first = strlen(before);
  uint32_t x = 12345;
  payload_len = first + (size_t)opt.size + strlen(after);
  payload = grow(NULL, payload_len + 1);
  memcpy(payload, before, first);
  memcpy(payload + first + opt.size, after, strlen(after));
  for (size_t i = first; i < first + (size_t)opt.size; i++) {
    x = x * 1103515245 + 12345;
    payload[i] = (uint8_t)letters[(x >> 16) % (sizeof letters - 1)];
  }
  frame_len = make_frame(&frame, 0x81, payload, payload_len);
#ifdef WSLOAD_ZLIB
  if (opt.deflate) {
    z_stream z = {0};
    deflateInit2(&z, 6, Z_DEFLATED, -15, 8, Z_DEFAULT_STRATEGY);
    size_t cap = payload_len + 256;
    uint8_t *o = grow(NULL, cap);
    z.next_in = payload;
    z.avail_in = (uInt)payload_len;
    z.next_out = o;
    z.avail_out = (uInt)cap;
    deflate(&z, Z_SYNC_FLUSH);
    deflated_len = make_frame(&deflated_frame, 0xC1, o, cap - z.avail_out - 4);
    deflateEnd(&z);
    free(o);
  }
#endif
}

/* ---- one connection ---- */

#ifdef WSLOAD_TLS
static SSL_CTX *tls;

/* As send and recv do it: errno says EAGAIN where the other side must do something first. */
static ssize_t of_tls(Conn *c, int n) {
  if (n > 0) return n;
  int why = SSL_get_error(c->tls, n);
  ERR_clear_error();
  if (why == SSL_ERROR_ZERO_RETURN) return 0;
  errno = why == SSL_ERROR_WANT_READ || why == SSL_ERROR_WANT_WRITE ? EAGAIN : ECONNRESET;
  return -1;
}

/* SSL_read gives one record; all that are there are taken, as recv does it. */
static ssize_t take(Conn *c, void *to, size_t n) {
  if (!c->tls) return recv(c->fd, to, n, 0);
  size_t have = 0;
  ssize_t got = 0;
  while (have < n && (got = of_tls(c, SSL_read(c->tls, (char *)to + have, (int)(n - have)))) > 0)
    have += (size_t)got;
  return have ? (ssize_t)have : got;
}

static ssize_t give(Conn *c, const void *from, size_t n) {
  return c->tls ? of_tls(c, SSL_write(c->tls, from, (int)n)) : send(c->fd, from, n, MSG_NOSIGNAL);
}
#else
static ssize_t take(Conn *c, void *to, size_t n) { return recv(c->fd, to, n, 0); }

static ssize_t give(Conn *c, const void *from, size_t n) {
  return send(c->fd, from, n, MSG_NOSIGNAL);
}
#endif

static void watch(Conn *c) {
  struct epoll_event e = {.events = EPOLLIN | (c->want_out ? EPOLLOUT : 0), .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
}

static void drop(Conn *c) {
  if (c->state == DEAD || c->state == UNUSED) return;
  if (c->state == OPEN || c->state == CLOSING) n_open--;
  /* a reset leaves no TIME_WAIT behind, of which a handshake run would make thousands */
  struct linger l = {1, 0};
  setsockopt(c->fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
  close(c->fd);
#ifdef WSLOAD_TLS
  SSL_free(c->tls);
  c->tls = NULL;
#endif
  c->state = DEAD;
}

static void flush_out(Conn *c) {
  while (c->out_pos < c->out_len) {
    size_t left = c->out_len - c->out_pos;
    ssize_t n = give(c, c->out + c->out_pos, opt.each && left > frame_len ? frame_len : left);
    if (n < 0 && errno == EAGAIN) {
      if (!c->want_out) { c->want_out = 1; watch(c); }
      return;
    }
    if (n < 0) { error_seen("send failed, errno", errno); drop(c); return; }
    c->out_pos += (size_t)n;
  }
  c->out_pos = c->out_len = 0;
  if (c->want_out) { c->want_out = 0; watch(c); }
}

static void put(Conn *c, const uint8_t *data, size_t n) {
  if (c->out_len + n > c->out_cap) {
    c->out_cap = (c->out_len + n) * 2;
    c->out = grow(c->out, c->out_cap);
  }
  memcpy(c->out + c->out_len, data, n);
  c->out_len += n;
}

static void put_control(Conn *c, int first_byte, const uint8_t *data, size_t n) {
  uint8_t *f;
  size_t len = make_frame(&f, first_byte, data, n);
  put(c, f, len);
  free(f);
}

static void put_message(Conn *c) {
  c->sent_at[c->head++ % RING] = now_ns();
  put(c, frame, frame_len);
}

static void put_close(Conn *c) {
  put_control(c, 0x88, (const uint8_t[]){1000 >> 8, 1000 & 255}, 2);
  c->state = CLOSING;
}

static void start(Conn *c, enum role role) {
  static unsigned turn;
  int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (fd < 0) die("socket");
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
  /* 64 source addresses (127.0.0.2 and up), so that ports never run out */
  struct sockaddr_in from = {.sin_family = AF_INET};
  from.sin_addr.s_addr = htonl(0x7f000002u + (turn++ % 64));
  setsockopt(fd, IPPROTO_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one);
  if (bind(fd, (struct sockaddr *)&from, sizeof from)) die("bind");
  c->port = opt.port2 && role == ROLE_SUB && c->id % 2 ? opt.port2 : opt.port;
  struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)c->port)};
  inet_pton(AF_INET, opt.host, &to.sin_addr);
  c->fd = fd;
  c->role = role;
  c->state = CONNECTING;
  c->in_len = c->out_len = c->out_pos = 0;
  c->skip = c->received = 0;
  c->head = c->tail = 0;
  c->want_out = 1;
  c->answered = 0;
  c->started = now_ns();
  if (connect(fd, (struct sockaddr *)&to, sizeof to) && errno != EINPROGRESS) die("connect");
  struct epoll_event e = {.events = EPOLLIN | EPOLLOUT, .data.ptr = c};
  epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e);
}

static void put_request(Conn *c) {
  char r[4096];
  int sub = c->role == ROLE_SUB || c->role == ROLE_SLOW;
  const char *path = c->role == ROLE_PUB ? opt.pub : sub ? opt.sub : opt.path;
  int n = snprintf(r, sizeof r,
                   "GET %s HTTP/1.1\r\nHost: %s:%d\r\nUpgrade: websocket\r\n"
                   "Connection: Upgrade\r\nSec-WebSocket-Key: " KEY "\r\n"
                   "Sec-WebSocket-Version: 13\r\n%s%s%s\r\n",
                   path, opt.host, c->port,
                   opt.deflate ? "Sec-WebSocket-Extensions: permessage-deflate\r\n" : "",
                   opt.header, *opt.header ? "\r\n" : "");
  if (n < 0 || (size_t)n >= sizeof r) die("the request is too long");
  put(c, (uint8_t *)r, (size_t)n);
}

/* ---- what each scenario does with an open connection and with a message ---- */

static void on_open(Conn *c) {
  c->state = OPEN;
  n_open++;
  if (opt.socketio) return; /* it is ready when it is in the namespace */
  n_ready++;
  if (scenario == CONNECT) {
    n_handshakes++;
    if (measuring) add_latency(now_ns() - c->started);
    put_close(c);
  } else if (scenario == IDLE) {
    put_message(c);
  } else if (c->role == ROLE_SLOW) {
    struct epoll_event e = {.events = 0, .data.ptr = c};
    epoll_ctl(ep, EPOLL_CTL_MOD, c->fd, &e);
  }
}

static void on_message(Conn *c) {
  n_received++;
  c->received++;
  if (scenario == ECHO) {
    uint64_t sent = c->sent_at[c->tail++ % RING];
    if (measuring) add_latency(now_ns() - sent);
    if (!stopping) put_message(c);
  } else if (scenario == IDLE) {
    c->answered = 1;
  } else if (c->role == ROLE_SUB) {
    uint64_t k = c->received - 1;
    if (k >= fan_sent) error_seen("a subscriber got more than was published", (long)c->id);
    else if (measuring && (c->id % 32 == 0 || c->id % 32 == 17 || opt.conns < 64))
      add_latency(now_ns() - fan_sent_at[k]);
    fan_delivered++;
  }
}

#ifdef WSLOAD_ZLIB
/* The first answer refers to nothing before it, so anybody can read it. */
static void check_packed(const uint8_t *data, size_t n) {
  z_stream z = {0};
  uint8_t *o = grow(NULL, payload_len + 1);
  static const uint8_t tail[4] = {0, 0, 0xFF, 0xFF};
  if (inflateInit2(&z, -15) != Z_OK) die("zlib does not start");
  z.next_out = o;
  z.avail_out = (uInt)payload_len + 1;
  z.next_in = (uint8_t *)data;
  z.avail_in = (uInt)n;
  int first = inflate(&z, Z_SYNC_FLUSH);
  z.next_in = (uint8_t *)tail;
  z.avail_in = 4;
  int last = first == Z_OK || first == Z_BUF_ERROR ? inflate(&z, Z_SYNC_FLUSH) : first;
  if ((last != Z_OK && last != Z_BUF_ERROR) || z.total_out != payload_len || memcmp(o, payload, payload_len))
    error_seen("a compressed answer that is something else", (long)z.total_out);
  inflateEnd(&z);
  free(o);
}
#endif

static void on_control(Conn *c, int op, const uint8_t *data, size_t n) {
  if (op == 8) {
    long code = n >= 2 ? data[0] << 8 | data[1] : 1005;
    if (c->state == OPEN && !stopping) error_seen("the server closed a connection, code", code);
    drop(c);
  } else if (op == 9) {
    put_control(c, 0x8A, data, n);
  }
}

/* A word of Socket.IO that is no event: it opens, is in, or pings. */
static void on_word(Conn *c, const uint8_t *data, size_t n) {
  if (n && data[0] == '0') put_control(c, 0x81, (const uint8_t *)"40", 2);
  else if (n > 1 && data[0] == '4' && data[1] == '0') n_ready++;
  else if (n && data[0] == '2') put_control(c, 0x81, (const uint8_t *)"3", 1);
  else error_seen("a word of Socket.IO that is none, of length", (long)n);
}

/* Parse what is buffered; answers to it are queued, and leave in one write afterwards. */
static void parse(Conn *c) {
  size_t p = 0;
  const uint8_t *b = c->in;
  while (c->state == OPEN || c->state == CLOSING) {
    size_t left = c->in_len - p;
    if (c->skip) {
      size_t k = left > c->skip ? c->skip : left;
      p += k;
      c->skip -= k;
      if (c->skip) break;
      if (c->skip_fin) on_message(c);
      continue;
    }
    if (left < 2) break;
    int fin = b[p] & 0x80, op = b[p] & 15;
    uint64_t n = b[p + 1] & 127;
    size_t h = n == 126 ? 4 : n == 127 ? 10 : 2;
    if (left < h) break;
    if (h > 2) {
      n = 0;
      for (size_t i = 2; i < h; i++) n = n << 8 | b[p + i];
    }
    if (op >= 8) {
      if (left < h + n) break;
      on_control(c, op, b + p + h, n);
      p += h + n;
      continue;
    }
    if (opt.socketio) {
      if (left < h + (n < 2 ? n : 2)) break;
      const uint8_t *word = b + p + h;
      if (n < 2 || word[0] != '4' || word[1] != '2') {
        if (left < h + n) break;
        on_word(c, word, n);
        p += h + n;
        continue;
      }
    }
    if (!deflate_used && n != payload_len) error_seen("an answer of another length", (long)n);
    if (left < h + n) {
      p = c->in_len;
      c->skip = h + n - left;
      c->skip_fin = fin;
      break;
    }
    if (!measuring && !deflate_used && n == payload_len && memcmp(b + p + h, payload, n))
      error_seen("an answer with other bytes", (long)n);
#ifdef WSLOAD_ZLIB
    if (!measuring && deflate_used && !c->received && fin) {
      if (b[p] & 0x40) check_packed(b + p + h, n);
      else if (n != payload_len || memcmp(b + p + h, payload, n))
        error_seen("an answer with other bytes", (long)n);
    }
#endif
    p += h + n;
    if (fin) on_message(c);
  }
  if (p && c->state != DEAD) {
    memmove(c->in, c->in + p, c->in_len - p);
    c->in_len -= p;
  }
}

static void finish_handshake(Conn *c) {
  uint8_t *end = memmem(c->in, c->in_len, "\r\n\r\n", 4);
  if (!end) return;
  size_t h = (size_t)(end + 4 - c->in);
  if (h < 12 || memcmp(c->in + 9, "101", 3) || !memmem(c->in, h, ACCEPT, strlen(ACCEPT))) {
    fprintf(stderr, "wsload: bad handshake: %.*s\n", (int)(h > 200 ? 200 : h), c->in);
    exit(3);
  }
#ifdef WSLOAD_ZLIB
  /* compressed frames go only to a server that agreed to them */
  if (opt.deflate && !deflate_used && memmem(c->in, h, "permessage-deflate", 18)) {
    deflate_used = 1;
    frame = deflated_frame;
    frame_len = deflated_len;
  }
#endif
  memmove(c->in, c->in + h, c->in_len - h);
  c->in_len -= h;
  on_open(c);
}

static void on_readable(Conn *c) {
  static uint8_t chunk[1 << 18];
  ssize_t n = take(c, chunk, sizeof chunk);
  if (n < 0 && errno == EAGAIN) return;
  if (n <= 0) {
    if (c->state != CLOSING && !stopping) error_seen("a connection was lost in state", c->state);
    drop(c);
    return;
  }
  size_t need = c->in_len + (size_t)n;
  if (need > c->in_cap) {
    c->in_cap = need * 2 < 1024 ? 1024 : need * 2;
    c->in = grow(c->in, c->in_cap);
  }
  memcpy(c->in + c->in_len, chunk, (size_t)n);
  c->in_len = need;
  if (c->state == HANDSHAKE) finish_handshake(c);
  if (c->state == OPEN || c->state == CLOSING) parse(c);
  if (c->state != DEAD && c->out_len && !c->want_out) flush_out(c);
}

static void greeted(Conn *c) {
  c->state = HANDSHAKE;
  put_request(c);
  flush_out(c);
}

#ifdef WSLOAD_TLS
static void greet(Conn *c) {
  int done = SSL_do_handshake(c->tls);
  if (done == 1) greeted(c);
  else if (of_tls(c, done) < 0 && errno == EAGAIN) { c->want_out = 0; watch(c); }
  else { error_seen("no TLS, state", c->state); drop(c); }
}

static void begin_tls(Conn *c) {
  if (!tls) {
    tls = SSL_CTX_new(TLS_client_method());
    if (!tls) die("OpenSSL");
    SSL_CTX_set_mode(tls, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
  }
  c->tls = SSL_new(tls);
  if (!c->tls || !SSL_set_fd(c->tls, c->fd)) die("OpenSSL");
  SSL_set_connect_state(c->tls);
  c->state = GREETING;
  greet(c);
}
#else
static void begin_tls(Conn *c) { (void)c; }

static void greet(Conn *c) { (void)c; }
#endif

static void turn(int ms) {
  static struct epoll_event events[1024];
  int n = epoll_wait(ep, events, 1024, ms);
  for (int i = 0; i < n; i++) {
    Conn *c = events[i].data.ptr;
    uint32_t e = events[i].events;
    if (c->state == DEAD) continue;
    if (c->state == CONNECTING && (e & (EPOLLOUT | EPOLLERR))) {
      int err = 0;
      socklen_t len = sizeof err;
      getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &err, &len);
      if (err) { error_seen("connect failed, errno", err); drop(c); continue; }
      if (opt.tls) begin_tls(c);
      else greeted(c);
      continue;
    }
    if (c->state == GREETING) { greet(c); continue; }
    if (e & EPOLLOUT) flush_out(c);
    if (c->state != DEAD && (e & (EPOLLIN | EPOLLHUP | EPOLLERR))) on_readable(c);
  }
}

static void turns_for(double seconds) {
  for (uint64_t t = now_ns(); (double)(now_ns() - t) < seconds * 1e9;) turn(20);
}

static void wait_ready(int want) {
  for (uint64_t t = now_ns(); n_ready < want && (double)(now_ns() - t) < 30e9;) turn(50);
  if (n_ready >= want) return;
  fprintf(stderr, "wsload: only %d of %d connections opened\n", n_ready, want);
  exit(4);
}

static void open_all(int n, int from, enum role role) {
  for (int i = 0; i < n; i++) {
    conns[from + i].id = from + i;
    start(&conns[from + i], role);
    if ((i + 1) % BATCH == 0) wait_ready(n_started + i + 1);
  }
  n_started += n;
  wait_ready(n_started);
}

/* ---- scenarios ---- */

static Mark mark(uint64_t n) {
  return (Mark){.n = n, .server_cpu = server_cpu(), .store_cpu = cpu_of(opt.store),
                .client_cpu = client_cpu(), .at = now_ns()};
}

/* Wait until each connection has had an answer, for 10 s at most and as long as any come: the first
 * message of a connection costs more than those that follow, and with thousands it would count. */
static void first_answers(void) {
  uint64_t seen = n_received, begun = now_ns(), last = begun;
  for (int i = 0; i < opt.conns;) {
    if (conns[i].received || conns[i].state == DEAD) { i++; continue; }
    turn(20);
    uint64_t t = now_ns();
    if (n_received != seen) { seen = n_received; last = t; }
    if ((double)(t - last) > 1e9 || (double)(t - begun) > 10e9) return;
  }
}

static void run_echo(Mark *a, Mark *b) {
  open_all(opt.conns, 0, ROLE_ECHO);
  for (int i = 0; i < opt.conns; i++) {
    for (int d = 0; d < opt.depth; d++) put_message(&conns[i]);
    flush_out(&conns[i]);
  }
  turns_for(opt.warmup);
  first_answers();
  measuring = 1;
  for (int i = 0; i < opt.conns; i++) conns[i].received0 = conns[i].received;
  *a = mark(n_received);
  turns_for(opt.duration);
  *b = mark(n_received);
  uint64_t least = UINT64_MAX, n = b->n - a->n;
  for (int i = 0; i < opt.conns; i++) {
    uint64_t mine = conns[i].received - conns[i].received0;
    if (mine < least) least = mine;
  }
  least_served = n ? (double)least * opt.conns / (double)n : 0;
}

static void publish(void) {
  uint64_t room = fan_delivered / (uint64_t)opt.conns + (uint64_t)opt.window;
  while (fan_sent < room && (scenario != SLOW || fan_sent < (uint64_t)opt.count)) {
    if (fan_sent + 1 > fan_cap) {
      fan_cap = fan_cap ? fan_cap * 2 : 65536;
      fan_sent_at = grow(fan_sent_at, fan_cap * sizeof *fan_sent_at);
    }
    fan_sent_at[fan_sent++] = now_ns();
    put(publisher, frame, frame_len);
  }
  if (publisher->out_len && !publisher->want_out) flush_out(publisher);
}

/* Returns 1 where deliveries stopped for --stall seconds. */
static int run_fanout(Mark *a, Mark *b, long *rss0, long *rss_peak) {
  int stalled = 0;
  uint64_t seen = 0, last, sampled, goal = (uint64_t)opt.count * (uint64_t)opt.conns;
  open_all(opt.conns, 0, ROLE_SUB);
  if (scenario == SLOW && opt.slow) open_all(1, opt.conns + 1, ROLE_SLOW);
  publisher = &conns[opt.conns];
  open_all(1, opt.conns, ROLE_PUB);
  usleep(200000);
  *rss0 = server_rss_kb();
  if (scenario == FANOUT)
    for (uint64_t t = now_ns(); (double)(now_ns() - t) < opt.warmup * 1e9;) { publish(); turn(20); }
  measuring = 1;
  *a = mark(fan_delivered);
  last = sampled = a->at;
  for (;;) {
    publish();
    turn(20);
    uint64_t t = now_ns();
    if (fan_delivered != seen) {
      seen = fan_delivered;
      last = t;
    } else if ((double)(t - last) > opt.stall * 1e9) {
      stalled = 1;
      break;
    }
    if (t - sampled > 200000000u) {
      long rss = server_rss_kb();
      if (rss > *rss_peak) *rss_peak = rss;
      sampled = t;
    }
    double elapsed = (double)(t - a->at);
    if (scenario == FANOUT && elapsed > opt.duration * 1e9) break;
    if (scenario == SLOW && (fan_delivered >= goal || elapsed > opt.cap * 1e9)) break;
    if (n_errors > 10 || publisher->state == DEAD) break;
  }
  *b = mark(fan_delivered);
  return stalled;
}

static void run_connect(Mark *a, Mark *b) {
  for (int i = 0; i < opt.conns; i++) start(&conns[i], ROLE_ECHO);
  for (uint64_t begun = now_ns();;) {
    turn(20);
    if (!measuring && (double)(now_ns() - begun) > opt.warmup * 1e9) {
      measuring = 1;
      *a = mark(n_handshakes);
    }
    if (measuring && (double)(now_ns() - a->at) > opt.duration * 1e9) break;
    if (n_errors > 100) { if (!measuring) *a = mark(n_handshakes); break; }
    for (int i = 0; i < opt.conns; i++)
      if (conns[i].state == DEAD) start(&conns[i], ROLE_ECHO);
  }
  *b = mark(n_handshakes);
}

static void run_idle(Mark *a, Mark *b, long *rss0) {
  /* a first few connections load what the server loads late; they leave before the measurement */
  int first = SPARE - 2, answered = 0;
  open_all(first, 0, ROLE_IDLE);
  turns_for(0.5);
  for (int i = 0; i < first; i++)
    if (conns[i].state == OPEN) { put_close(&conns[i]); flush_out(&conns[i]); }
  turns_for(1);
  for (int i = 0; i < first; i++) drop(&conns[i]);
  usleep(300000);
  *rss0 = server_rss_kb();
  *a = mark(0);
  open_all(opt.conns, first, ROLE_IDLE);
  for (uint64_t t = now_ns(); answered < opt.conns && (double)(now_ns() - t) < 10e9;) {
    turn(20);
    answered = 0;
    for (int i = 0; i < opt.conns; i++) answered += conns[first + i].answered;
  }
  turns_for(opt.rest);
  *b = mark((uint64_t)answered);
  if (answered < opt.conns) error_seen("connections that got no answer", opt.conns - answered);
}

static void leave(void) {
  int all = opt.conns + SPARE;
  for (int i = 0; i < all; i++) {
    Conn *c = &conns[i];
    if (c->state != OPEN || c->role == ROLE_SLOW) continue;
    put_close(c);
    if (!c->want_out) flush_out(c);
  }
  for (uint64_t t = now_ns(); n_open > 0 && (double)(now_ns() - t) < 1.5e9;) turn(20);
  for (int i = 0; i < all; i++) drop(&conns[i]);
}

/* ---- options and output ---- */

static void read_options(int argc, char **argv) {
  for (int i = 1; i < argc; i += 2) {
    const char *key = argv[i], *value = i + 1 < argc ? argv[i + 1] : NULL;
    int known = 1;
#define TEXT(name) else if (!strcmp(key, "--" #name)) opt.name = value
#define WHOLE(name) else if (!strcmp(key, "--" #name)) opt.name = atoi(value)
#define REAL(name) else if (!strcmp(key, "--" #name)) opt.name = atof(value)
    if (!value) known = 0;
    TEXT(host); TEXT(path); TEXT(pub); TEXT(sub); TEXT(scenario); TEXT(header); TEXT(label);
    WHOLE(port); WHOLE(conns); WHOLE(depth); WHOLE(size); WHOLE(deflate); WHOLE(window);
    WHOLE(pid); WHOLE(count); WHOLE(slow); WHOLE(tls); WHOLE(each);
    WHOLE(port2); WHOLE(pid2); WHOLE(store); WHOLE(socketio);
    REAL(duration); REAL(warmup); REAL(stall); REAL(cap); REAL(rest);
    else known = 0;
    if (!known) {
      fprintf(stderr, "wsload: unknown option, or option without a value: %s\n", key);
      exit(2);
    }
  }
}

static void check_options(void) {
  static const char *names[] = {"echo", "fanout", "connect", "idle", "slow"};
  int i = 0;
  while (i < 5 && strcmp(opt.scenario, names[i])) i++;
  scenario = (enum scenario)i;
  const char *wrong = NULL;
  if (i == 5) wrong = "--scenario must be echo, fanout, connect, idle or slow";
  if (opt.depth < 1 || opt.depth > RING) wrong = "--depth must be 1 to 1024";
  if (opt.conns < 1 || opt.window < 1) wrong = "--conns and --window must be 1 or more";
  if (opt.size < 1) wrong = "--size must be 1 or more";
  if (opt.socketio && scenario != FANOUT) wrong = "--socketio is for the fanout scenario";
#ifndef WSLOAD_TLS
  if (opt.tls) wrong = "--tls needs a build with OpenSSL (-DWSLOAD_TLS ... -lssl -lcrypto)";
#endif
#ifndef WSLOAD_ZLIB
  if (opt.deflate) wrong = "--deflate needs a build with zlib (-DWSLOAD_ZLIB ... -lz)";
#endif
  if (wrong) { fprintf(stderr, "wsload: %s\n", wrong); exit(2); }
}

int main(int argc, char **argv) {
  read_options(argc, argv);
  check_options();
  signal(SIGPIPE, SIG_IGN); /* OpenSSL writes as it likes */
  struct rlimit files;
  if (!getrlimit(RLIMIT_NOFILE, &files)) {
    files.rlim_cur = files.rlim_max;
    setrlimit(RLIMIT_NOFILE, &files);
  }
  ep = epoll_create1(0);
  if (ep < 0) die("epoll_create1");
  build_frames();
  conns = calloc((size_t)opt.conns + SPARE, sizeof *conns);
  if (!conns) die("out of memory");
  Mark a = {0}, b = {0};
  long rss0 = server_rss_kb(), rss_peak = 0;
  int stalled = 0;
  if (scenario == ECHO) run_echo(&a, &b);
  else if (scenario == CONNECT) run_connect(&a, &b);
  else if (scenario == IDLE) run_idle(&a, &b, &rss0);
  else stalled = run_fanout(&a, &b, &rss0, &rss_peak);
  measuring = 0;
  stopping = 1;
  long rss1 = server_rss_kb();
  if (rss1 > rss_peak) rss_peak = rss1;
  double seconds = (double)(b.at - a.at) / 1e9, cpu = b.server_cpu - a.server_cpu;
  uint64_t n = b.n - a.n;
  if (n_latency) qsort(latency, n_latency, sizeof *latency, by_value);
  printf("{\"label\":\"%s\",\"scenario\":\"%s\",\"conns\":%d,\"depth\":%d,\"size\":%d,"
         "\"deflate_used\":%d,\"seconds\":%.3f,\"n\":%llu,\"rate\":%.1f,\"server_cpu_s\":%.6f,"
         "\"cpu_us_per\":%.4f,\"store_us_per\":%.4f,\"client_cpu_s\":%.4f,\"p50_us\":%.1f,"
         "\"p99_us\":%.1f,\"least_served\":%.3f,"
         "\"rss0_kb\":%ld,\"rss1_kb\":%ld,\"rss_peak_kb\":%ld,\"stalled\":%d,\"errors\":%llu,"
         "\"first_error\":\"%s\"}\n",
         opt.label, opt.scenario, opt.conns, opt.depth, opt.size, deflate_used, seconds,
         (unsigned long long)n, seconds > 0 ? (double)n / seconds : 0, cpu,
         n ? cpu * 1e6 / (double)n : 0, n ? (b.store_cpu - a.store_cpu) * 1e6 / (double)n : 0,
         b.client_cpu - a.client_cpu, percentile_us(.5),
         percentile_us(.99), least_served, rss0, rss1, rss_peak, stalled, (unsigned long long)n_errors,
         first_error);
  fflush(stdout);
  leave();
  return 0;
}
