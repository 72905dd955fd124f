#include "reencrypt_list.h"

#include <string.h>

#include "kek/clock.h"

#define OBJECTS_MAX \
    20000u         /* of two pages: a server that minds no limit is none that this can read */
#define AHEAD 200u /* the next page is asked for when so few names are left */
#define PAGES 4u   /* that have names which are not handled yet, at most */
#define TRIES 8u
#define EMPTY 8u      /* pages in a row without an object, behind which is another */
#define PAUSE_MS 500u /* doubled with each try */

struct page {
    char *next;     /* where the one behind it begins; NULL: it is the last */
    size_t unnamed; /* names that were not given yet */
    size_t pending; /* names that are not handled yet */
};

struct reencrypt_list {
    struct reencrypt *reencrypt;
    struct reencrypt_place *place;
    size_t resource; /* being read */
    char *from;      /* of the page to be asked for */
    bool is_last;    /* all pages of the resource were read */
    struct kek_kubeapi_call call;
    bool asking;
    unsigned tries;
    uint64_t not_before_ms;
    /* Names: those up to `ready` are of whole pages. */
    struct kek_kubeapi_object *objects;
    size_t at, ready, count, room;
    uint64_t remaining;       /* behind them, as the server says */
    struct page pages[PAGES]; /* by their number */
    uint64_t first_page, page_count;
    bool is_stuck; /* a list failed, or an object is left: whoever resumes begins there */
    /* Where the list stands, and how it came there. */
    unsigned restarts;              /* of this resource */
    unsigned empty;                 /* pages in a row */
    uint64_t read, marked;          /* pages since the list began, and when the mark was set */
    struct kek_kubeapi_object mark; /* one that a list which goes round comes to again */
    struct kek_why trouble;         /* the last, until a page comes; its text empty: none */
};

struct reencrypt_list *reencrypt_list_new(struct reencrypt *reencrypt,
                                          struct reencrypt_place *place)
{
    struct reencrypt_list *list = calloc(1, sizeof *list);
    if (list == NULL) {
        return NULL;
    }
    list->reencrypt = reencrypt;
    list->place = place;
    list->resource = place->resource;
    list->from = place->from == NULL ? NULL : strdup(place->from);
    if (place->from != NULL && list->from == NULL) {
        free(list);
        return NULL;
    }
    return list;
}

void reencrypt_list_free(struct reencrypt_list *list)
{
    if (list == NULL) {
        return;
    }
    kek_kubeapi_end(list->reencrypt->api, &list->call);
    for (size_t i = 0; i < PAGES; i++) {
        free(list->pages[i].next);
    }
    free(list->from);
    free(list->objects);
    free(list);
}

static enum kek_rc on_object(void *arg, const struct kek_kubeapi_object *object,
                             struct kek_why *why)
{
    struct reencrypt_list *list = arg;
    if (list->count == list->room) {
        size_t room = list->room == 0 ? 2 * KEK_KUBEAPI_PAGE : 2 * list->room;
        struct kek_kubeapi_object *more =
            list->count >= OBJECTS_MAX ? NULL : reallocarray(list->objects, room, sizeof *more);
        if (more == NULL) {
            return kek_fail(why, KEK_TOO_LARGE,
                            "no room for %zu objects of a page: the API server minds no limit",
                            list->count);
        }
        list->objects = more;
        list->room = room;
    }
    list->objects[list->count++] = *object;
    return KEK_OK;
}

/* ---- how far all of it is handled ---- */

/* Takes `from`. */
static void move_place(struct reencrypt_list *list, size_t resource, char *from)
{
    if (list->is_stuck) {
        free(from);
        return;
    }
    free(list->place->from);
    list->place->from = from;
    list->place->resource = resource;
    list->place->changes++;
}

/* Pages whose names are all handled, in their order. */
static void move_on(struct reencrypt_list *list)
{
    while (list->page_count > 0) {
        struct page *page = &list->pages[list->first_page % PAGES];
        if (page->pending > 0) {
            return;
        }
        if (page->next != NULL) {
            move_place(list, list->resource, KEK_STEAL(page->next));
        } else {
            move_place(list, list->resource + 1, NULL);
        }
        list->first_page++;
        list->page_count--;
    }
}

static void handled(void *arg, const struct reencrypt_target *target, bool is_done)
{
    struct reencrypt_list *list = arg;
    list->is_stuck = list->is_stuck || !is_done;
    list->pages[target->ticket % PAGES].pending--;
    move_on(list);
}

/* ---- pages ---- */

static struct reencrypt_resource *resource_of(struct reencrypt_list *list)
{
    return &list->reencrypt->resources[list->resource];
}

static void ask(struct reencrypt_list *list)
{
    /* What was given is dropped. */
    list->ready -= list->at;
    list->count = list->ready;
    if (list->ready > 0) {
        memmove(list->objects, list->objects + list->at, list->ready * sizeof *list->objects);
    }
    list->at = 0;
    list->asking = true;
    kek_kubeapi_list(list->reencrypt->api, &list->call, &resource_of(list)->api, list->from,
                     on_object, list);
}

/* The mark is set anew in page 1, 2, 4, 8, ...: a circle of any length comes to it again. */
static void set_mark(struct reencrypt_list *list, size_t unnamed)
{
    list->empty = unnamed == 0 ? list->empty + 1 : 0;
    if (++list->read >= 2 * list->marked && unnamed > 0) {
        list->marked = list->read;
        list->mark = list->objects[list->count - 1];
    }
}

static void take_page(struct reencrypt_list *list)
{
    struct reencrypt_resource *resource = resource_of(list);
    uint64_t number = list->first_page + list->page_count++;
    struct page *page = &list->pages[number % PAGES];
    if (resource->since[0] == '\0') {
        memcpy(resource->since, list->call.list_version, sizeof resource->since);
    }
    *page = (struct page){.unnamed = list->count - list->ready};
    page->pending = page->unnamed;
    list->ready = list->count;
    list->remaining = list->call.remaining;
    list->tries = 0;
    list->trouble.text[0] = '\0';
    set_mark(list, page->unnamed);
    free(list->from);
    list->from = KEK_STEAL(list->call.continue_);
    page->next = list->from == NULL ? NULL : strdup(list->from);
    list->is_last = list->from == NULL;
    move_on(list); /* it may be empty */
}

/* The list of this resource ends here, unread. */
static enum reencrypt_next give_up(struct reencrypt_list *list, struct kek_why *why)
{
    struct reencrypt_resource *resource = resource_of(list);
    bool whole = list->call.answer == KEK_KUBEAPI_STOP;
    *why = list->call.why;
    (void)kek_fail_within(why, why->rc, "the list of %s", resource->name);
    if (whole) {
        return REENCRYPT_FAILED;
    }
    ctl_say(
        list->reencrypt->ctl, "%s%s", why->text,
        list->call.remote.status == 500
            ? ": one object that does not open fails every list of its resource: kekctl inventory "
              "--verify names it"
            : "");
    resource->failed = true;
    list->is_stuck = true;
    list->is_last = true;
    list->remaining = 0;
    return REENCRYPT_WAIT;
}

static bool is_mark(const struct reencrypt_list *list, const struct kek_kubeapi_object *object)
{
    return strcmp(object->name, list->mark.name) == 0 &&
           strcmp(object->space, list->mark.space) == 0;
}

/* Would it be handled for ever?  NULL: no. */
static const char *goes_round(const struct reencrypt_list *list)
{
    const char *next = list->call.continue_;
    bool again = next != NULL && list->from != NULL && strcmp(list->from, next) == 0;
    if (again) {
        return "the next page begins where this one did";
    }
    if (next != NULL && list->empty >= EMPTY) {
        return "page after page has no object, and there is always a next one";
    }
    for (size_t i = list->ready; list->marked > 0 && i < list->count; i++) {
        if (is_mark(list, &list->objects[i])) {
            return "a page has an object that one before it had";
        }
    }
    return NULL;
}

/* At its beginning again: what was met is fresh by now. False: too often. */
static bool restart(struct reencrypt_list *list)
{
    free(list->from);
    list->from = NULL;
    list->read = list->marked = 0;
    return ++list->restarts < TRIES;
}

/* The place is too old, or none that this server knows: it gives another, or the list begins anew.  False: neither. */
static bool goes_on_elsewhere(struct reencrypt_list *list)
{
    const struct kek_kubeapi_call *call = &list->call;
    bool expired = call->answer == KEK_KUBEAPI_EXPIRED;
    bool unknown = call->answer == KEK_KUBEAPI_REFUSED && call->remote.status == 400;
    if (list->from == NULL || !(expired || unknown)) {
        return false;
    }
    if (call->continue_ == NULL) {
        return restart(list);
    }
    free(list->from);
    list->from = KEK_STEAL(list->call.continue_);
    return ++list->tries < TRIES;
}

static enum reencrypt_next take_answer(struct reencrypt_list *list, struct kek_why *why)
{
    list->asking = false;
    const char *round = list->call.answer == KEK_KUBEAPI_GOOD ? goes_round(list) : NULL;
    if (round != NULL) {
        list->call.answer = KEK_KUBEAPI_REFUSED;
        kek_fail(&list->call.why, KEK_DAMAGED, "the list goes round: %s", round);
    }
    if (list->call.answer == KEK_KUBEAPI_GOOD) {
        take_page(list);
        return REENCRYPT_WAIT;
    }
    list->count = list->ready; /* of half a page nothing is taken */
    bool again = list->call.answer == KEK_KUBEAPI_TROUBLE || list->call.answer == KEK_KUBEAPI_BUSY;
    if (goes_on_elsewhere(list)) {
        return REENCRYPT_WAIT;
    }
    list->trouble = list->call.why;
    if (!again || ++list->tries >= TRIES) {
        return give_up(list, why);
    }
    uint64_t pause = PAUSE_MS << (list->tries - 1);
    list->not_before_ms =
        kek_clock_ms() + (list->call.retry_ms > pause ? list->call.retry_ms : pause);
    return REENCRYPT_WAIT;
}

/* All names of the resource were given: the next one begins once they are handled, since pages are counted for
 * one resource at a time. */
static enum reencrypt_next next_resource(struct reencrypt_list *list)
{
    if (list->page_count > 0) {
        return REENCRYPT_WAIT;
    }
    list->resource++;
    list->is_last = false;
    list->tries = list->restarts = list->empty = 0;
    list->read = list->marked = 0;
    list->trouble.text[0] = '\0';
    return REENCRYPT_WAIT;
}

static void give(struct reencrypt_list *list, struct reencrypt_target *target)
{
    uint64_t number = list->first_page;
    while (list->pages[number % PAGES].unnamed == 0) {
        number++; /* names are left, so one of the pages has them */
    }
    list->pages[number % PAGES].unnamed--;
    *target = (struct reencrypt_target){
        .resource = list->resource, .object = list->objects[list->at++], .ticket = number};
}

static enum reencrypt_next next(void *arg, struct reencrypt_target *target, struct kek_why *why)
{
    struct reencrypt_list *list = arg;
    if (list->asking && list->call.done) {
        enum reencrypt_next came = take_answer(list, why);
        if (came == REENCRYPT_FAILED) {
            return came;
        }
    }
    if (list->resource == list->reencrypt->resource_count) {
        return REENCRYPT_END;
    }
    bool wanted = !list->asking && !list->is_last && list->ready - list->at < AHEAD &&
                  list->page_count < PAGES && kek_clock_ms() >= list->not_before_ms;
    if (wanted) {
        ask(list);
    }
    if (list->at < list->ready) {
        give(list, target);
        return REENCRYPT_NAME;
    }
    return list->is_last ? next_resource(list) : REENCRYPT_WAIT;
}

static uint64_t left(void *arg)
{
    const struct reencrypt_list *list = arg;
    return list->ready - list->at + list->remaining;
}

static const struct kek_why *trouble(void *arg)
{
    const struct reencrypt_list *list = arg;
    return list->trouble.text[0] == '\0' ? NULL : &list->trouble;
}

struct reencrypt_source reencrypt_list_source(struct reencrypt_list *list)
{
    return (struct reencrypt_source){
        .next = next, .handled = handled, .left = left, .trouble = trouble, .arg = list};
}
