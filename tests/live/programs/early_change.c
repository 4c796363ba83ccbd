/* Change an attribute of the process right after the exec, then sleep for 10 ms. Linked
 * statically, so that main() begins as early as possible.
 *
 *   early_change ids ...       drop root privileges
 *   early_change name ...      set the name (PR_SET_NAME)
 *   early_change nothing ...
 */
#define _GNU_SOURCE
#include <string.h>
#include <sys/prctl.h>
#include <unistd.h>

enum { SLEEP_US = 10000, OTHER_ID = 1 };

int main(int argc, char **argv)
{
    const char *change = argc > 1 ? argv[1] : "nothing";

    if (strcmp(change, "ids") == 0 && (setresgid(OTHER_ID, OTHER_ID, OTHER_ID) != 0 ||
                                       setresuid(OTHER_ID, OTHER_ID, OTHER_ID) != 0))
        return 1;
    if (strcmp(change, "name") == 0)
        prctl(PR_SET_NAME, "renamed");
    usleep(SLEEP_US);
    return 0;
}
