/* A ledger: reads movements of money, refuses what cannot be, prints what is left. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MOST = 64, NAME = 32 };

struct account {
    char name[NAME];
    long amount;
};

static struct account accounts[MOST];
static size_t count;

static struct account *account(const char *name) {
    for (size_t i = 0; i < count; i++)
        if (strcmp(accounts[i].name, name) == 0)
            return &accounts[i];
    struct account *fresh = &accounts[count++];
    snprintf(fresh->name, NAME, "%s", name);
    return fresh;
}

static int take(int line, const char *name, long amount) {
    struct account *from = account(name);
    if (from->amount < amount) {
        printf("line %d: %s has only %ld\n", line, name, from->amount);
        return 0;
    }
    from->amount -= amount;
    return 1;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct account *)a)->name, ((const struct account *)b)->name);
}

int main(void) {
    char line[128], a[NAME], b[NAME];
    long amount, total = 0;
    for (int number = 1; fgets(line, sizeof line, stdin) != NULL; number++) {
        line[strcspn(line, "\n")] = '\0';
        if (sscanf(line, "deposit %31s %ld", a, &amount) == 2) {
            account(a)->amount += amount;
        } else if (sscanf(line, "withdraw %31s %ld", a, &amount) == 2) {
            take(number, a, amount);
        } else if (sscanf(line, "transfer %31s %31s %ld", a, b, &amount) == 3) {
            if (take(number, a, amount))
                account(b)->amount += amount;
        } else {
            printf("line %d: cannot read \"%s\"\n", number, line);
        }
    }
    qsort(accounts, count, sizeof *accounts, by_name);
    for (size_t i = 0; i < count; i++) {
        printf("%s %ld\n", accounts[i].name, accounts[i].amount);
        total += accounts[i].amount;
    }
    printf("total %ld\n", total);
    return EXIT_SUCCESS;
}
