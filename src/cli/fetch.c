/* Fetching; see fetch.h.
 *
 * A file is hashed as it is written, so that it is read again only where a former run has left a part of it. Of the answer to a
 * request for the rest, 206 is that, and 200 is the whole file once more: then it begins anew.
 *
 *   attempt → done
 *           → connection lost, 408, 429, 5xx: a pause, and again, up to ATTEMPTS in which nothing came
 *           → anything else: an error */
#include "config.h"

#include <curl/curl.h>
#include <errno.h>
#include <openssl/evp.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/fetch.h"
#include "util/macro.h"
#include "util/str.h"

enum {
        DOCUMENT_MAX = 1024 * 1024,
        REFUSAL_MAX = 300,
        ATTEMPTS = 5,
        CONNECT_SECONDS = 20,
        SILENT_SECONDS = 60, /* a connection on which nothing comes is lost */
        BLOCK = 1024 * 1024,
};

typedef struct Transfer {
        CURL *easy;
        Buf *document; /* or */
        const FetchFile *file;
        EVP_MD_CTX *hash;
        uint64_t done;    /* of the file */
        uint64_t from;    /* where the answer begins, as it says */
        bool begun;       /* the answer's body has */
        uint64_t since;   /* usec; of this run, for the speed */
        uint64_t fetched; /* in this run */
        int error;        /* errno: why we ended it ourselves */
        Buf refusal;      /* the body of an answer that is none */
        char why[CURL_ERROR_SIZE];
} Transfer;

static void transfer_deinit(Transfer *t) {
        curl_easy_cleanup(t->easy);
        EVP_MD_CTX_free(t->hash);
        buf_deinit(&t->refusal);
}

static long status_of(const Transfer *t) {
        long status = 0;
        curl_easy_getinfo(t->easy, CURLINFO_RESPONSE_CODE, &status);
        return status;
}

static int write_all(int fd, const char *data, size_t n) {
        while (n > 0) {
                ssize_t k = write(fd, data, n);
                if (k < 0 && errno != EINTR)
                        return -errno;
                if (k > 0) {
                        data += k;
                        n -= (size_t)k;
                }
        }
        return 0;
}

static int start_over(Transfer *t) {
        t->done = 0;
        if (ftruncate(t->file->fd, 0) < 0 || lseek(t->file->fd, 0, SEEK_SET) < 0)
                return -errno;
        return EVP_DigestInit_ex(t->hash, EVP_sha256(), NULL) == 1 ? 0 : -ENOMEM;
}

/* Whether the answer is the file, or the rest of it: before anything there is touched. A page of somebody between has another
 * length. */
static int begin_answer(Transfer *t) {
        bool whole = status_of(t) == 200;
        curl_off_t length = -1;
        curl_easy_getinfo(t->easy, CURLINFO_CONTENT_LENGTH_DOWNLOAD_T, &length);
        if ((length >= 0 && (uint64_t)length != t->file->size - (whole ? 0 : t->done)) || (!whole && t->from != t->done))
                return -EPROTO;
        return whole && t->done > 0 ? start_over(t) : 0;
}

static int put_in_file(Transfer *t, const char *data, size_t n) {
        int r = t->begun ? 0 : begin_answer(t);
        t->begun = true;
        if (r == 0 && n > t->file->size - t->done)
                r = -EMSGSIZE;
        if (r == 0)
                r = write_all(t->file->fd, data, n);
        if (r < 0)
                return r;
        EVP_DigestUpdate(t->hash, data, n);
        t->done += n;
        t->fetched += n;
        return 0;
}

static size_t on_body(char *data, size_t one _unused_, size_t n, void *userdata) {
        Transfer *t = userdata;
        long status = status_of(t);
        if (status != 200 && status != 206) {
                buf_put(&t->refusal, data, MIN(n, REFUSAL_MAX - MIN(t->refusal.len, (size_t)REFUSAL_MAX)));
                return n;
        }
        if (t->file)
                t->error = -put_in_file(t, data, n);
        else if (n > DOCUMENT_MAX - MIN(t->document->len, (size_t)DOCUMENT_MAX))
                t->error = EMSGSIZE;
        else
                buf_put(t->document, data, n);
        return t->error ? CURL_WRITEFUNC_ERROR : n;
}

static size_t on_header(char *data, size_t one _unused_, size_t n, void *userdata) {
        Transfer *t = userdata;
        char line[80];
        unsigned long long from;
        snprintf(line, sizeof(line), "%.*s", (int)MIN(n, sizeof(line) - 1), data);
        if (strncasecmp(line, "content-range:", 14) == 0 && sscanf(line + 14, " bytes %llu-", &from) == 1)
                t->from = from;
        return n;
}

static void show_progress(const Transfer *t) {
        char done[32], size[32], speed[32], left[32] = "";
        uint64_t usec = now_usec() - t->since, rate = usec > 0 ? (uint64_t)((double)t->fetched / (double)usec * 1e6) : 0;
        format_size(done, sizeof(done), t->done);
        format_size(size, sizeof(size), t->file->size);
        format_size(speed, sizeof(speed), rate);
        if (rate > 0)
                format_duration(left, sizeof(left), (t->file->size - t->done) / rate * 1000000);
        bar_show((double)t->done / (double)t->file->size, "%s: %s of %s, %s/s%s%s", t->file->label, done, size, speed,
                 *left ? ", left: " : "", left);
}

static int on_progress(void *userdata, curl_off_t total _unused_, curl_off_t now _unused_, curl_off_t up_total _unused_,
                       curl_off_t up _unused_) {
        const Transfer *t = userdata;
        if (t->file && bar_is_due())
                show_progress(t);
        return interrupted;
}

static int transfer_init(Transfer *t, const char *url) {
        const char *protocols = strncmp(url, "http://", 7) == 0 ? "http,https" : "https";
        t->easy = curl_easy_init();
        if (!t->easy)
                return -ENOMEM;
        curl_easy_setopt(t->easy, CURLOPT_URL, url);
        curl_easy_setopt(t->easy, CURLOPT_PROTOCOLS_STR, protocols);
        curl_easy_setopt(t->easy, CURLOPT_REDIR_PROTOCOLS_STR, protocols);
        curl_easy_setopt(t->easy, CURLOPT_FOLLOWLOCATION, 1L);
        curl_easy_setopt(t->easy, CURLOPT_MAXREDIRS, 10L);
        curl_easy_setopt(t->easy, CURLOPT_USERAGENT, "zerollama/" PACKAGE_VERSION);
        curl_easy_setopt(t->easy, CURLOPT_NOSIGNAL, 1L);
        curl_easy_setopt(t->easy, CURLOPT_CONNECTTIMEOUT, (long)CONNECT_SECONDS);
        curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_LIMIT, 1L);
        curl_easy_setopt(t->easy, CURLOPT_LOW_SPEED_TIME, (long)SILENT_SECONDS);
        curl_easy_setopt(t->easy, CURLOPT_ERRORBUFFER, t->why);
        curl_easy_setopt(t->easy, CURLOPT_WRITEFUNCTION, on_body);
        curl_easy_setopt(t->easy, CURLOPT_WRITEDATA, t);
        curl_easy_setopt(t->easy, CURLOPT_HEADERFUNCTION, on_header);
        curl_easy_setopt(t->easy, CURLOPT_HEADERDATA, t);
        curl_easy_setopt(t->easy, CURLOPT_XFERINFOFUNCTION, on_progress);
        curl_easy_setopt(t->easy, CURLOPT_XFERINFODATA, t);
        curl_easy_setopt(t->easy, CURLOPT_NOPROGRESS, 0L);
        return 0;
}

/* The server's words, on one line. */
static int refused(const Transfer *t, const char *url, long status, Error *e) {
        size_t n = t->refusal.failed ? 0 : t->refusal.len;
        for (size_t i = 0; i < n; i++)
                if ((unsigned char)t->refusal.data[i] < ' ')
                        t->refusal.data[i] = ' ';
        return error_set(e, status == 404 ? -ENOENT : -EIO, "%s: answered %ld%s%.*s", url, status, n > 0 ? ": " : "", (int)n,
                         n > 0 ? t->refusal.data : "");
}

static bool may_pass(long status) {
        return status == 408 || status == 429 || status >= 500;
}

/* -EAGAIN: it is worth another attempt. */
static int attempt(Transfer *t, const char *url, Error *e) {
        t->begun = false;
        t->from = UINT64_MAX;
        t->error = 0;
        buf_clear(&t->refusal);
        CURLcode code = interrupted ? CURLE_ABORTED_BY_CALLBACK : curl_easy_perform(t->easy);
        long status = status_of(t);
        if (interrupted)
                return error_set(e, -EINTR, "interrupted");
        if (t->error == EMSGSIZE) /* so that what came before is in doubt, too */
                return error_set(e, -EBADMSG, "%s: sends more than it should", url);
        if (t->error == EPROTO)
                return error_set(e, -EIO, "%s: sends something else than the file, by its length or place", url);
        if (t->error)
                return error_set(e, -t->error, "cannot write: %s", strerror(t->error));
        if (code != CURLE_OK)
                return error_set(e, -EAGAIN, "%s: %s", url, *t->why ? t->why : curl_easy_strerror(code));
        if (status != 200 && status != 206)
                return may_pass(status) ? (refused(t, url, status, e), -EAGAIN) : refused(t, url, status, e);
        return 0;
}

int fetch_document(const char *url, const char *accept, Buf *ret, Error *e) {
        _cleanup_(transfer_deinit) Transfer t = {.document = ret};
        _cleanup_free_ char *header = NULL;
        int r = asprintf(&header, "Accept: %s", accept) < 0 ? -ENOMEM : transfer_init(&t, url);
        struct curl_slist *headers = r < 0 ? NULL : curl_slist_append(NULL, header);
        if (!headers)
                return error_set(e, -ENOMEM, "not enough memory to fetch %s", url);
        curl_easy_setopt(t.easy, CURLOPT_HTTPHEADER, headers);
        r = attempt(&t, url, e);
        curl_slist_free_all(headers);
        if (r == 0 && ret->failed)
                r = error_set(e, -ENOMEM, "not enough memory to fetch %s", url);
        return r == -EAGAIN ? -EIO : r;
}

/* ---- files ---- */

static void to_hex(const unsigned char *bytes, unsigned n, char ret[DIGEST_MAX]) {
        for (unsigned i = 0; i < n && 2 * i + 2 < DIGEST_MAX; i++)
                snprintf(ret + 2 * (size_t)i, 3, "%02x", bytes[i]);
}

int fetch_blob(const char *url, const char *digest, Buf *ret, Error *e) {
        unsigned char bytes[EVP_MAX_MD_SIZE];
        char found[DIGEST_MAX];
        unsigned n;
        int r = fetch_document(url, "*/*", ret, e);
        if (r < 0)
                return r;
        if (EVP_Digest(ret->data ? ret->data : "", ret->len, bytes, &n, EVP_sha256(), NULL) != 1)
                return error_set(e, -EIO, "the digest cannot be computed");
        to_hex(bytes, n, found);
        return strcmp(found, digest) == 0 ? 0 : error_set(e, -EBADMSG, "%s: what came is not what its digest says", url);
}

static int finish_hash(EVP_MD_CTX *hash, char ret[DIGEST_MAX], Error *e) {
        unsigned char bytes[EVP_MAX_MD_SIZE];
        unsigned n;
        if (EVP_DigestFinal_ex(hash, bytes, &n) != 1)
                return error_set(e, -EIO, "the digest cannot be computed");
        to_hex(bytes, n, ret);
        return 0;
}

static int read_into(EVP_MD_CTX *hash, int fd, uint64_t size, const char *label, Error *e) {
        _cleanup_free_ char *block = malloc(BLOCK);
        if (!block || EVP_DigestInit_ex(hash, EVP_sha256(), NULL) != 1)
                return error_set(e, -ENOMEM, "not enough memory to read %s", label);
        for (uint64_t at = 0; at < size;) {
                ssize_t n = pread(fd, block, (size_t)MIN(size - at, (uint64_t)BLOCK), (off_t)at);
                if (interrupted)
                        return error_set(e, -EINTR, "interrupted");
                if (n <= 0)
                        return error_set(e, -EIO, "%s: cannot be read: %s", label, n < 0 ? strerror(errno) : "it became shorter");
                EVP_DigestUpdate(hash, block, (size_t)n);
                at += (uint64_t)n;
                if (bar_is_due())
                        bar_show((double)at / (double)size, "%s: reading what is there", label);
        }
        return 0;
}

int file_digest(int fd, uint64_t size, const char *label, char ret[DIGEST_MAX], Error *e) {
        EVP_MD_CTX *hash = EVP_MD_CTX_new();
        int r = hash ? read_into(hash, fd, size, label, e) : error_set(e, -ENOMEM, "not enough memory to read %s", label);
        if (r == 0)
                r = finish_hash(hash, ret, e);
        EVP_MD_CTX_free(hash);
        return r;
}

/* What a former run has left. */
static int begin_file(Transfer *t, Error *e) {
        off_t there = lseek(t->file->fd, 0, SEEK_END);
        if (there < 0)
                return error_set(e, -errno, "%s: %s", t->file->label, strerror(errno));
        t->hash = EVP_MD_CTX_new();
        if (!t->hash)
                return error_set(e, -ENOMEM, "not enough memory to fetch %s", t->file->label);
        if ((uint64_t)there > t->file->size)
                return start_over(t) < 0 ? error_set(e, -EIO, "%s: cannot be written", t->file->label) : 0;
        t->done = (uint64_t)there;
        return read_into(t->hash, t->file->fd, t->done, t->file->label, e);
}

/* Ctrl-C ends it. */
static void pause_before(unsigned failures, const Error *e) {
        time_t seconds = (time_t)1 << MIN(failures - 1, 4u);
        bar_clear();
        complain("%s; again in %llds", e->text, (long long)seconds);
        nanosleep(&(struct timespec){.tv_sec = seconds}, NULL);
}

/* Not by CURLOPT_RESUME_FROM_LARGE, for which 200 is an error. */
static void ask_for_rest(Transfer *t) {
        char range[32];
        snprintf(range, sizeof(range), "%llu-", (unsigned long long)t->done);
        curl_easy_setopt(t->easy, CURLOPT_RANGE, t->done > 0 ? range : NULL);
}

static int fetch_rest(Transfer *t, Error *e) {
        for (unsigned failures = 0; t->done < t->file->size;) {
                uint64_t before = t->done;
                ask_for_rest(t);
                int r = attempt(t, t->file->url, e);
                if (r == 0 && t->done < t->file->size)
                        r = error_set(e, -EAGAIN, "%s: ended too early", t->file->url);
                if (r < 0 && r != -EAGAIN)
                        return r;
                failures = t->done > before ? 1 : failures + 1;
                if (r < 0 && failures >= ATTEMPTS)
                        return -EIO;
                if (r < 0)
                        pause_before(failures, e);
        }
        return 0;
}

int fetch_file(const FetchFile *f, Error *e) {
        _cleanup_(transfer_deinit) Transfer t = {.file = f, .since = now_usec()};
        char digest[DIGEST_MAX];
        int r = transfer_init(&t, f->url);
        if (r < 0)
                return error_set(e, r, "not enough memory to fetch %s", f->url);
        if ((r = begin_file(&t, e)) < 0)
                return r;
        t.since = now_usec();
        r = fetch_rest(&t, e);
        bar_clear();
        if (r == 0)
                r = finish_hash(t.hash, digest, e);
        if (r == 0 && strcmp(digest, f->digest) != 0)
                r = error_set(e, -EBADMSG, "%s: the SHA-256 of what came is %s, and should be %s", f->label, digest, f->digest);
        return r;
}
