#include "nodes.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/remote.h"
#include "kek/text.h"
#include "node_parse.h"
#include "node_self.h"
#include "node_ssh.h"

#define TURN_MS 50 /* between looks whether an ssh has ended */
#define GRACE_MS 200
#define SOCKET_MS 1000u /* that this node's socket has at the least, whatever the others took */
#define SELF "self"
#define SSH "ssh:"

/* How one is asked. */
enum way { BY_TLS, BY_SSH, BY_METRICS, BY_SOCKET };

/* One that is being asked. */
struct asking {
    enum way way;
    char url[NODE_NAME_MAX + 32];
    struct kek_remote_call get;
    struct node_ssh ssh;
};

/* ---- who they are ---- */

static bool is_ssh(const char *name)
{
    return strncmp(name, SSH, sizeof SSH - 1) == 0;
}

static enum way way_of(const struct nodes *nodes, const struct node *node)
{
    if (is_ssh(node->name)) {
        return BY_SSH;
    }
    if (strcmp(node->name, SELF) != 0) {
        return BY_TLS;
    }
    return nodes->config->metrics_host != NULL ? BY_METRICS : BY_SOCKET;
}

bool nodes_hear_self(const struct kek_config *config)
{
    bool may = config->metrics_host != NULL;
    for (size_t i = 0; !may && i < config->allow_uid_count; i++) {
        may = config->allow_uids[i] == geteuid();
    }
    return may;
}

static enum ctl_exit check(const struct nodes *nodes, const char *name)
{
    bool good = strcmp(name, SELF) == 0 ||
                (is_ssh(name) ? node_ssh_is_host(name + sizeof SSH - 1) : kek_config_is_node(name));
    if (!good) {
        ctl_say(nodes->ctl, "--node: expected HOST:PORT, ssh:HOST or self, found \"%s\"", name);
        return CTL_USAGE;
    }
    if (strcmp(name, SELF) != 0 && !is_ssh(name) && nodes->config->status.cert == NULL) {
        ctl_say(nodes->ctl,
                "--node %s: %s has no section status, whose certificate is shown to other nodes",
                name, nodes->config->path);
        return CTL_USAGE;
    }
    return CTL_GOOD;
}

bool nodes_open(struct nodes *nodes, const struct ctl *ctl, const struct kek_config *config,
                const char *const *names, size_t count, enum ctl_exit *code)
{
    static const char *const self[] = {SELF};
    *nodes = (struct nodes){.ctl = ctl, .config = config};
    if (count == 0) {
        names = (const char *const *)config->status.nodes;
        while (names != NULL && names[count] != NULL) {
            count++;
        }
    }
    nodes->alone = count == 0;
    names = nodes->alone ? self : names;
    count = nodes->alone ? 1 : count;
    if (count > NODES_MAX) {
        ctl_say(ctl, "--node: expected at most %d nodes, found %zu", NODES_MAX, count);
        *code = CTL_USAGE;
        return false;
    }
    nodes->list = calloc(count, sizeof *nodes->list);
    *code = nodes->list == NULL ? CTL_FAILED : CTL_GOOD;
    if (nodes->list == NULL) {
        ctl_say(ctl, "no memory for %s", kek_counted(count, "node").text);
    }
    for (size_t i = 0; i < count && *code == CTL_GOOD; i++) {
        *code = check(nodes, names[i]);
        snprintf(nodes->list[i].name, sizeof nodes->list[i].name, "%s", names[i]);
        nodes->list[i].root = config->root == NULL ? "" : config->root;
        nodes->count++;
    }
    return *code == CTL_GOOD;
}

void nodes_close(struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        json_decref(nodes->list[i].page);
    }
    free(nodes->list);
    nodes->list = NULL;
    nodes->count = 0;
}

/* ---- what they say ---- */

static void is_unreachable(struct node *node, const struct kek_why *why)
{
    node->reachable = false;
    node->why = *why;
}

static void hear_key(struct node *node)
{
    const char *key_id = node->status.announces ? node->status.primary.key_id : "";
    if (strcmp(node->heard_key_id, key_id) != 0) {
        snprintf(node->heard_key_id, sizeof node->heard_key_id, "%s", key_id);
        node->heard_ms = key_id[0] == '\0' ? 0 : kek_clock_wall_ms();
    }
}

/* Takes the page. */
static void heard(struct node *node, json_t *page)
{
    json_decref(node->page);
    node->page = page;
    node->reachable = node_parse(page, node->root, &node->status, &node->why);
    if (!node->reachable) {
        (void)kek_fail_within(&node->why, node->why.rc, "%s", node->name);
        return;
    }
    node->skew_ms = node->status.now_ms - kek_clock_wall_ms();
    hear_key(node);
}

static json_t *load(struct node *node, struct kek_bytes text)
{
    json_error_t error;
    json_t *json = json_loadb((const char *)text.data, text.len, JSON_REJECT_DUPLICATES, &error);
    if (json == NULL) {
        node->reachable = false;
        kek_fail(&node->why, KEK_INVALID, "%s: the answer is no JSON (line %d): no kekd's status",
                 node->name, error.line);
    }
    return json;
}

static void heard_of_get(struct node *node, struct asking *asking)
{
    if (asking->get.rc != KEK_OK) {
        const char *todo = asking->get.status == 403
                               ? ": have its status.allow name the subject of status.cert"
                           : asking->get.status == 404       ? ": no kekd serves its status there"
                           : asking->get.rc == KEK_TOO_LARGE ? ": this is no kekd"
                                                             : "";
        node->reachable = false;
        kek_fail(&node->why, asking->get.rc, "%s%s", asking->get.why.text, todo);
        return;
    }
    json_t *page = load(node, kek_buf_bytes(&asking->get.body));
    if (page != NULL) {
        heard(node, page);
    }
}

/* What kekctl printed there: a list of one, itself. */
static void heard_of_ssh(struct node *node, struct asking *asking)
{
    if (asking->ssh.rc != KEK_OK) {
        is_unreachable(node, &asking->ssh.why);
        return;
    }
    json_t *all = load(node, kek_buf_bytes(&asking->ssh.output));
    if (all == NULL) {
        return;
    }
    json_t *item = json_array_get(json_object_get(all, "nodes"), 0);
    json_t *page = json_object_get(item, "page");
    if (json_is_object(page)) {
        heard(node, json_incref(page));
    } else {
        char error[400];
        kek_text_copy(error, sizeof error, json_string_value(json_object_get(item, "error")));
        node->reachable = false;
        kek_fail(&node->why, KEK_UNAVAILABLE, "%s: %s", node->name,
                 error[0] == '\0' ? "its kekctl says nothing of that node" : error);
    }
    json_decref(all);
}

/* ---- asking ---- */

static void start(const struct nodes *nodes, struct kek_remote *remote, const struct node *node,
                  struct asking *asking, uint64_t deadline_ms)
{
    const struct kek_config *config = nodes->config;
    bool v6 = config->metrics_host != NULL && strchr(config->metrics_host, ':') != NULL;
    asking->way = way_of(nodes, node);
    switch (asking->way) {
    case BY_SSH:
        node_ssh_start(&asking->ssh, node->name + sizeof SSH - 1, NODE_PAGE_MAX);
        return;
    case BY_SOCKET:
        return; /* which would hold up the others: it is asked at the end */
    case BY_TLS:
        snprintf(asking->url, sizeof asking->url, "https://%s/status", node->name);
        break;
    case BY_METRICS:
        snprintf(asking->url, sizeof asking->url, "http://%s%s%s:%u/status", v6 ? "[" : "",
                 config->metrics_host, v6 ? "]" : "", config->metrics_port);
        break;
    }
    asking->get = (struct kek_remote_call){
        .url = asking->url, .plain = asking->way == BY_METRICS, .deadline_ms = deadline_ms};
    kek_buf_init(&asking->get.body, NODE_PAGE_MAX);
    kek_remote_start(remote, &asking->get);
}

/* Until all have answered that can be waited for, or the deadline. */
static void wait_for_all(struct kek_remote *remote, struct asking *all, size_t count,
                         uint64_t deadline_ms)
{
    size_t gets = kek_remote_turn(remote, NULL, 0, 0);
    for (;;) {
        int fds[2 * NODES_MAX];
        size_t fd_count = 0;
        bool waiting = false;
        for (size_t i = 0; i < count; i++) {
            if (all[i].way == BY_SSH) {
                node_ssh_turn(&all[i].ssh);
                waiting = waiting || !all[i].ssh.done;
                fd_count += node_ssh_fds(&all[i].ssh, fds + fd_count);
            }
        }
        uint64_t now = kek_clock_ms();
        uint64_t left = deadline_ms > now ? deadline_ms - now : 0;
        uint64_t wait = waiting && left > TURN_MS ? TURN_MS : left;
        if ((gets == 0 && !waiting) || left == 0) {
            return;
        }
        gets = kek_remote_turn(remote, fds, fd_count, wait);
    }
}

static uint64_t later(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

static void take_answers(const struct nodes *nodes, struct asking *all, uint64_t deadline_ms)
{
    for (size_t i = 0; i < nodes->count; i++) {
        struct node *node = &nodes->list[i];
        struct kek_why why;
        json_t *page;
        switch (all[i].way) {
        case BY_SSH:
            node_ssh_end(&all[i].ssh);
            heard_of_ssh(node, &all[i]);
            kek_buf_done(&all[i].ssh.output);
            break;
        case BY_SOCKET:
            page = node_self(nodes->config, later(deadline_ms, kek_clock_ms() + SOCKET_MS), &why);
            if (page == NULL) {
                is_unreachable(node, &why);
            } else {
                heard(node, page);
            }
            break;
        case BY_TLS:
        case BY_METRICS:
            heard_of_get(node, &all[i]);
            kek_buf_done(&all[i].get.body);
            break;
        }
    }
}

static size_t none(const struct nodes *nodes, const struct kek_why *why)
{
    for (size_t i = 0; i < nodes->count; i++) {
        is_unreachable(&nodes->list[i], why);
    }
    return 0;
}

size_t nodes_ask(struct nodes *nodes, uint64_t timeout_ms)
{
    struct kek_why why = {.rc = KEK_NO_MEMORY, .text = "no memory to ask the nodes"};
    const struct kek_config *config = nodes->config;
    const struct kek_remote_settings settings = {.peer = "kekd",
                                                 .cert = config->status.cert,
                                                 .key = config->status.key,
                                                 .ca = config->status.ca,
                                                 .ca_name = "status.ca",
                                                 .cert_name = "status.cert",
                                                 .key_name = "status.key"};
    uint64_t deadline_ms = kek_clock_ms() + timeout_ms;
    size_t reachable = 0;
    /* A node that leaves in the middle is an answer that does not come, not the end of kekctl. */
    (void)signal(SIGPIPE, SIG_IGN);
    struct kek_remote *remote = kek_remote_new(&settings, &why);
    struct asking *all = remote == NULL ? NULL : calloc(nodes->count, sizeof *all);
    if (all == NULL) {
        kek_remote_free(remote);
        return none(nodes, &why);
    }
    for (size_t i = 0; i < nodes->count; i++) {
        start(nodes, remote, &nodes->list[i], &all[i], deadline_ms);
    }
    /* A get that comes to its deadline says so itself. */
    wait_for_all(remote, all, nodes->count, deadline_ms + GRACE_MS);
    kek_remote_free(remote); /* what is still under way ends, and says so */
    take_answers(nodes, all, deadline_ms);
    free(all);
    for (size_t i = 0; i < nodes->count; i++) {
        reachable += nodes->list[i].reachable;
    }
    return reachable;
}
