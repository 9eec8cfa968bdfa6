/* floor: the least that a server can do with a message (Linux: epoll, one thread).
 *
 *   floor PORT
 *
 * Whoever opens /sub is a member, and what a member says is dropped. Each text message of whoever
 * opens /pub goes to all members: it is framed once, and each member gets it with one send(). Whoever
 * opens any other path gets back what it sends: one recv() and one send() for all the messages that
 * have come at once. That is what wsload needs, and no more: frames are whole in what is read or wait
 * for the rest, a close frame is answered with the end of the connection, and the accept key is that
 * of the one key which wsload sends (the sample of RFC 6455).
 */
#define _GNU_SOURCE
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#define MAX_FD 70000
#define ROOM 65536

static const char ANSWER[] =
    "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n";

enum role { NOBODY, ECHO, PUBLISHER, MEMBER };

typedef struct { uint8_t *in; size_t len; enum role role; int place; } Conn;

static Conn conns[MAX_FD];
static int members[MAX_FD], count;

static void die(const char *what) {
  fprintf(stderr, "floor: %s: %s\n", what, strerror(errno));
  exit(3);
}

static void leave(int fd) {
  Conn *c = &conns[fd];
  if (c->place) {                         /* the last member takes its place */
    members[c->place - 1] = members[--count];
    conns[members[c->place - 1]].place = c->place;
  }
  free(c->in);
  memset(c, 0, sizeof *c);
  close(fd);
}

/* Write a text frame; return its length. The head is at most 4 bytes, 2 less than it came with. */
static size_t put(uint8_t *frame, const uint8_t *message, size_t size) {
  size_t head = 2;
  frame[0] = 0x81;
  if (size < 126) frame[1] = size;
  else { frame[1] = 126; frame[2] = size >> 8; frame[3] = size & 255; head = 4; }
  memcpy(frame + head, message, size);
  return head + size;
}

static void deliver(const uint8_t *message, size_t size) {
  static uint8_t frame[ROOM];
  size_t length = put(frame, message, size);
  for (int i = 0; i < count; i++) {
    ssize_t sent = send(members[i], frame, length, MSG_NOSIGNAL);
    if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) continue;  /* its end is read later */
    if (sent != (ssize_t)length) die("a member reads too slowly to be measured with");
  }
}

static int frames(int fd) {               /* handle whole frames; return whether it goes on */
  static uint8_t answer[ROOM];
  Conn *c = &conns[fd];
  size_t at = 0, length = 0;
  while (c->len - at >= 6) {
    uint8_t *p = c->in + at;
    size_t size = p[1] & 127, head = 6;
    if (size == 126) { head = 8; size = p[2] << 8 | p[3]; }
    if (size == 127 || size > ROOM - 8) return 0;
    if (c->len - at < head + size) break;
    uint8_t *mask = p + head - 4, *data = p + head;
    for (size_t i = 0; i < size; i++) data[i] ^= mask[i & 3];
    if ((p[0] & 15) == 8) return 0;
    if ((p[0] & 15) == 1 && c->role == PUBLISHER) deliver(data, size);
    if ((p[0] & 15) == 1 && c->role == ECHO) length += put(answer + length, data, size);
    at += head + size;
  }
  memmove(c->in, c->in + at, c->len - at);
  c->len -= at;
  if (!length) return 1;
  ssize_t sent = send(fd, answer, length, MSG_NOSIGNAL);
  if (sent < 0 && (errno == EPIPE || errno == ECONNRESET)) return 0;
  if (sent != (ssize_t)length) die("a client reads too slowly to be measured with");
  return 1;
}

static int readable(int fd) {
  Conn *c = &conns[fd];
  if (!c->in && !(c->in = malloc(ROOM))) die("malloc");
  ssize_t got = recv(fd, c->in + c->len, ROOM - c->len, 0);
  if (got < 0 && errno == EAGAIN) return 1;
  if (got <= 0) return 0;
  c->len += got;
  if (c->role == NOBODY) {
    uint8_t *end = memmem(c->in, c->len, "\r\n\r\n", 4);
    if (!end) return c->len < ROOM;
    if (send(fd, ANSWER, sizeof ANSWER - 1, MSG_NOSIGNAL) < 0) return 0;
    c->role = !memcmp(c->in, "GET /sub ", 9) ? MEMBER
              : !memcmp(c->in, "GET /pub ", 9) ? PUBLISHER : ECHO;
    if (c->role == MEMBER) { members[count++] = fd; c->place = count; }
    size_t used = end + 4 - c->in;
    memmove(c->in, c->in + used, c->len - used);
    c->len -= used;
  }
  return frames(fd);
}

int main(int argc, char **argv) {
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
  int on = 1, listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
  if (argc != 2) { fprintf(stderr, "floor: expected a port\n"); return 2; }
  at.sin_port = htons(atoi(argv[1]));
  setsockopt(listener, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(listener, (struct sockaddr *)&at, sizeof at) || listen(listener, 1024)) die("listen");
  int poll = epoll_create1(0);
  struct epoll_event event = {.events = EPOLLIN, .data.fd = listener}, ready[256];
  epoll_ctl(poll, EPOLL_CTL_ADD, listener, &event);
  for (;;) {
    int n = epoll_wait(poll, ready, 256, -1);
    if (n < 0 && errno != EINTR) die("epoll_wait");
    for (int i = 0; i < n; i++) {
      int fd = ready[i].data.fd;
      if (fd != listener) {
        if (!readable(fd)) leave(fd);
        continue;
      }
      while ((fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK)) >= 0) {
        if (fd >= MAX_FD) die("too many connections");
        setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
        event = (struct epoll_event){.events = EPOLLIN, .data.fd = fd};
        epoll_ctl(poll, EPOLL_CTL_ADD, fd, &event);
      }
    }
  }
}
