#define _GNU_SOURCE
#include <math.h>
#include <pthread.h>
#include <semaphore.h>
#include <spawn.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <threads.h>
#include <time.h>
#include <unistd.h>

static atomic_int total;
static void *add(void *one) {
    total += *(int *)one;
    return NULL;
}
static int add_again(void *one) {
    total += *(int *)one;
    return 0;
}

int main(void) {
    int one = 1;
    pthread_t threads[5];
    thrd_t others[5];
    for (int i = 0; i < 5; i++) {
        pthread_create(&threads[i], NULL, add, &one);
        thrd_create(&others[i], add_again, &one);
    }
    for (int i = 0; i < 5; i++) {
        pthread_join(threads[i], NULL);
        thrd_join(others[i], NULL);
    }
    printf("threads %d\n", total);
    char word[16] = "";
    FILE *child = popen("echo child", "r");
    if (fscanf(child, "%15s", word) != 1 || pclose(child) != 0)
        return 1;
    printf("subprocess %s\n", word);
    FILE *file = tmpfile();
    fputs("kept", file);
    rewind(file);
    printf("tempfile %s\n", fgets(word, sizeof word, file));
    int *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (fork() == 0) {
        *shared = 7;
        _exit(0);
    }
    wait(NULL);
    printf("shared %d\n", *shared);
    struct timespec wait = {.tv_nsec = 1000000};
    nanosleep(&wait, NULL);
    printf("math %.3f\n", sqrt(2));
    return 0;
}
