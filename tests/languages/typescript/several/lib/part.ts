export const word = (): string => "part";
