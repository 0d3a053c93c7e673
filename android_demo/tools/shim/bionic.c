/*
 * What Android's C library does in another way than glibc, for the TFLite AAR's x86_64 library on a Linux JVM (tests only).
 * Every function here is exported without its prefix "host_" (see build.sh); all others jump to glibc unchanged.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

int __xpg_strerror_r(int number, char *text, size_t size);

/* Android's stdin, stdout and stderr are the elements of an array of 152 bytes each. */
char host___sF[3][152];

static FILE *stream(void *file) {
  if (file == host___sF[0]) return stdin;
  if (file == host___sF[1]) return stdout;
  return file == host___sF[2] ? stderr : file;
}

int host_fprintf(void *file, const char *format, ...) {
  va_list list;
  va_start(list, format);
  int written = vfprintf(stream(file), format, list);
  va_end(list);
  return written;
}
int host_vfprintf(void *file, const char *format, va_list list) { return vfprintf(stream(file), format, list); }
size_t host_fwrite(const void *data, size_t size, size_t count, void *file) { return fwrite(data, size, count, stream(file)); }
int host_fputc(int character, void *file) { return fputc(character, stream(file)); }
int host_fflush(void *file) { return fflush(file ? stream(file) : NULL); }
int host_fileno(void *file) { return fileno(stream(file)); }

int *host___errno(void) { return &errno; }
int host_strerror_r(int number, char *text, size_t size) { return __xpg_strerror_r(number, text, size); }
size_t host___strlen_chk(const char *text, size_t size) { return (void)size, strlen(text); }
int host___open_2(const char *path, int flags) { return open(path, flags); }
locale_t host_newlocale(int mask, const char *name, locale_t base) { return (void)mask, newlocale(LC_ALL_MASK, name, base); }
void host_android_set_abort_message(const char *message) { fprintf(stderr, "abort: %s\n", message); }

/* The names that the library asks for have other numbers on Android. */
long host_sysconf(int name) {
  switch (name) {
    case 39: case 40: return sysconf(_SC_PAGESIZE);
    case 96: return sysconf(_SC_NPROCESSORS_CONF);
    case 97: return sysconf(_SC_NPROCESSORS_ONLN);
    case 98: return sysconf(_SC_PHYS_PAGES);
    default: return -1;
  }
}

/* Below API 20 TFLite leaves XNNPACK away without a word. */
int host___system_property_get(const char *name, char *value) {
  strcpy(value, strcmp(name, "ro.build.version.sdk") ? "" : "34");
  return strlen(value);
}

/* The log goes to the file that MOBILE_SR_LOG names, which the test's logcat prints. */
int host___android_log_vprint(int priority, const char *tag, const char *format, va_list list) {
  const char *path = getenv("MOBILE_SR_LOG");
  FILE *log = path ? fopen(path, "a") : stderr;
  (void)priority;
  if (!log) return -1;
  fprintf(log, "%s: ", tag);
  int written = vfprintf(log, format, list);
  fputc('\n', log);
  if (path) fclose(log);
  return written;
}

/* Addresses of glibc's functions, filled when the library is loaded; see build.sh for names and jumps. */
extern const char *const forwarded_names[];
extern void *forwarded[];

__attribute__((constructor)) static void resolve(void) {
  void *libraries[] = {dlopen("libc.so.6", RTLD_LAZY), dlopen("libm.so.6", RTLD_LAZY)};
  for (int i = 0; forwarded_names[i]; i++) {
    for (int k = 0; k < 2 && !forwarded[i]; k++) forwarded[i] = dlsym(libraries[k], forwarded_names[i]);
    if (!forwarded[i]) {
      fprintf(stderr, "bionic shim: glibc lacks %s\n", forwarded_names[i]);
      abort();
    }
  }
}
