/* Change something as the first act, and wait some milliseconds. Linked statically, so that
 * there is hardly anything before.
 *
 *   early ids ...       give up root
 *   early name ...      take another name
 *   early nothing ...
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { WAITING_US = 10000, OTHER_ID = 1 };

int main(int argc, char **argv)
{
    const char *act = argc > 1 ? argv[1] : "nothing";

    if (strcmp(act, "ids") == 0 && (setresgid(OTHER_ID, OTHER_ID, OTHER_ID) != 0 ||
                                    setresuid(OTHER_ID, OTHER_ID, OTHER_ID) != 0))
        return 1;
    if (strcmp(act, "name") == 0)
        prctl(PR_SET_NAME, "renamed");
    usleep(WAITING_US);
    return 0;
}
