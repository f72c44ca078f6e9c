/* os_wait.c — waiting for a descriptor of somebody else's library. */
#include <poll.h>

#include "base/os.h"

void quern__wait_readable(int fd, uint32_t ms)
{
    struct pollfd p = {.fd = fd, .events = POLLIN};
    poll(&p, 1, ms > 3600000 ? 3600000 : (int)ms);
}
