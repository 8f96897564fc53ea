#include <stdio.h>
#include <stdlib.h>

#include "lib/part.h"

int main(int argc, char **argv) {
    printf("%s ", word());
    for (int i = 1; i < argc; i++)
        printf("%s%s", i > 1 ? "|" : "", argv[i]);
    printf(" %s\n", getenv("GREETING"));
    return 0;
}
