function unused(given: number): number {
  return 1;
}

console.log(unused(2));
