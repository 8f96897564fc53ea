#include <stdio.h>

int main(void) {
#ifdef DEBUG
    puts("debug");
#else
    puts("plain");
#endif
    return 0;
}
