#include "usage/registration.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "netlink/socket.h"
#include "usage/taskstats.h"
#include "wire/message.h"

enum {
    NLMSG_FLAGS_REQUEST_ACK = 1 | 4,
    SEQUENCE = 1,

    /* linux/netlink.h, linux/genetlink.h, linux/taskstats.h */
    PROTOCOL_GENERIC = 16,
    CONTROL_FAMILY = 16,
    CONTROL_GET_FAMILY = 3,
    CONTROL_FAMILY_ID = 1,
    CONTROL_FAMILY_NAME = 2,
    TASKSTATS_GET = 1,
    TASKSTATS_REGISTER_CPUS = 3,
    TASKSTATS_DEREGISTER_CPUS = 4,

    MOST_BYTES = 4096,
    TEXT_AT = GENL_ATTRIBUTES_AT + ATTRIBUTE_HEADER_SIZE,
    TEXT_SIZE = MOST_BYTES - TEXT_AT,

    /* Records can be queued before the acknowledgement of the registration. */
    MOST_BEFORE_ACKNOWLEDGEMENT = 1 << 16,
};

/* Send a request with one attribute, a string. */
static int request(int fd, uint16_t family, uint8_t command, uint16_t attribute, const char *text)
{
    uint8_t message[MOST_BYTES] = {0};
    size_t size = strlen(text) + 1;
    size_t length = TEXT_AT + size;

    procconn_store_u32(message + NLMSG_LEN_AT, (uint32_t)length);
    procconn_store_u16(message + NLMSG_TYPE_AT, family);
    procconn_store_u16(message + NLMSG_FLAGS_AT, NLMSG_FLAGS_REQUEST_ACK);
    procconn_store_u32(message + NLMSG_SEQ_AT, SEQUENCE);
    message[GENL_CMD_AT] = command;
    message[GENL_CMD_AT + 1] = 1; /* the family's version */
    procconn_store_u16(message + GENL_ATTRIBUTES_AT, (uint16_t)(ATTRIBUTE_HEADER_SIZE + size));
    procconn_store_u16(message + GENL_ATTRIBUTES_AT + ATTRIBUTE_TYPE_AT, attribute);
    memcpy(message + TEXT_AT, text, size);
    return send(fd, message, length, 0) < 0 ? -errno : 0;
}

/* Set *family if the message has the ID of a generic netlink family. */
static void find_family(const uint8_t *message, size_t length, uint16_t *family)
{
    const uint8_t *number;
    size_t size;

    if (length < GENL_ATTRIBUTES_AT || procconn_load_u16(message + NLMSG_TYPE_AT) != CONTROL_FAMILY)
        return;
    number = procconn_find_attribute(message + GENL_ATTRIBUTES_AT, length - GENL_ATTRIBUTES_AT,
                                     CONTROL_FAMILY_ID, &size);
    if (number != NULL && size >= sizeof *family)
        *family = procconn_load_u16(number);
}

/* Whether the message acknowledges the request; then *error is 0 or a negative errno. */
static bool is_acknowledgement(const uint8_t *message, size_t length, int *error)
{
    int32_t value;

    if (length < NLMSGERR_ERROR_AT + NLMSGERR_ERROR_SIZE ||
        procconn_load_u16(message + NLMSG_TYPE_AT) != NLMSG_TYPE_ERROR ||
        procconn_load_u32(message + NLMSG_SEQ_AT) != SEQUENCE)
        return false;
    memcpy(&value, message + NLMSGERR_ERROR_AT, sizeof value);
    *error = value;
    return true;
}

/* Read the replies to a request, without waiting: the kernel queues them while the request is
 * being sent. */
static int read_replies(int fd, uint16_t *family)
{
    uint8_t message[MOST_BYTES];
    struct netlink_address sender;
    socklen_t sender_size;
    ssize_t size;
    size_t length;
    int error;

    for (unsigned i = 0; i < MOST_BEFORE_ACKNOWLEDGEMENT; i++) {
        sender_size = sizeof sender;
        size = recvfrom(fd, message, sizeof message, MSG_DONTWAIT, (struct sockaddr *)&sender,
                        &sender_size);
        if (size < 0)
            return -errno;
        if (!netlink_is_from_kernel(&sender, sender_size) || size < NLMSG_HEADER_SIZE)
            continue;
        length = procconn_load_u32(message + NLMSG_LEN_AT);
        if (length > (size_t)size)
            continue;
        if (is_acknowledgement(message, length, &error))
            return error;
        find_family(message, length, family);
    }
    return -EBUSY;
}

static int ask(int fd, uint16_t asked, uint8_t command, uint16_t attribute, const char *text,
               uint16_t *family)
{
    int error = request(fd, asked, command, attribute, text);

    return error == 0 ? read_replies(fd, family) : error;
}

/* Write the list of possible CPUs, such as "0-7". The kernel accepts CPUs that are offline and
 * rejects impossible ones. */
static void list_cpus(char *text)
{
    int fd = open("/sys/devices/system/cpu/possible", O_RDONLY | O_CLOEXEC);
    ssize_t size = fd >= 0 ? read(fd, text, TEXT_SIZE - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[size > 0 ? size : 0] = '\0';
    text[strcspn(text, "\n")] = '\0';
    if (text[0] == '\0') /* /sys is not mounted; Linux 5.14 and later accept this word */
        strcpy(text, "all");
}

static int register_all(int fd, int receive_buffer, uint16_t *family)
{
    struct netlink_address address = {.family = AF_NETLINK};
    uint32_t meminfo[MEMINFO_COUNT];
    char cpus[TEXT_SIZE];
    int status;

    if (!netlink_read_meminfo(fd, meminfo))
        return -ENOPROTOOPT;

    if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
        return -errno;
    status = netlink_ignore_overruns(fd);
    if (status == 0)
        status = netlink_set_receive_buffer(fd, receive_buffer);
    if (status < 0)
        return status;
    *family = 0;
    status = ask(fd, CONTROL_FAMILY, CONTROL_GET_FAMILY, CONTROL_FAMILY_NAME, "TASKSTATS", family);
    if (status < 0 || *family == 0)
        return status < 0 ? status : -ENOENT;
    list_cpus(cpus);
    return ask(fd, *family, TASKSTATS_GET, TASKSTATS_REGISTER_CPUS, cpus, family);
}

int usage_socket_open(int receive_buffer, uint16_t *family)
{
    int fd = socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK, PROTOCOL_GENERIC);
    int status;

    if (fd < 0)
        return -errno;
    status = register_all(fd, receive_buffer, family);
    if (status < 0) {
        close(fd);
        return status;
    }
    return fd;
}

void usage_socket_deregister(int fd, uint16_t family)
{
    char cpus[TEXT_SIZE];

    list_cpus(cpus);
    request(fd, family, TASKSTATS_GET, TASKSTATS_DEREGISTER_CPUS, cpus);
}
