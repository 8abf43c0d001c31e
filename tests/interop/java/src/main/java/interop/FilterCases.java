package interop;

import java.io.PrintStream;
import java.nio.charset.StandardCharsets;
import java.util.ArrayList;
import java.util.HashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import org.apache.rocketmq.filter.SqlFilter;
import org.apache.rocketmq.filter.expression.EvaluationContext;
import org.apache.rocketmq.filter.expression.Expression;
import org.apache.rocketmq.filter.expression.MQFilterException;

/**
 * Prints what Apache's filter classes make of many expressions: {@code FilterCases SEED COUNT}.
 *
 * <p>First the sets of properties, then a line for each expression: the outcome with each set (T true, F false,
 * N null, X an exception), or E where the expression does not compile; a tab; the expression, escaped.
 */
public final class FilterCases {
    private static final String[] NAMES = {"a", "b", "c", "$d_1", "m", "TAGS"};
    private static final String[] VALUES = {
        "3", "4", "-1", "0", "10", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "-2147483649",
        "3.0", "2.5", "-0.0", "0.0", "1e3", "1e400", " 4", "4 ", "+4", "007", "NaN", "-NaN", "Infinity", "-Infinity", "inf", "4d", "4.f", "4L",
        ".5", "5.", ".", "-", "1_0", "true", "TRUE", "false", "x", "X", "xyx", "xx", "it's", "", " ", "中", "TagA"};
    private static final String[] WHOLE = {"3", "4", "0", "10", "1", "2147483647", "2147483648", "9223372036854775807", "9223372036854775808", "3L", "5l", "007", "0L"};
    private static final String[] FRACTION = {"3.0", "2.5", "1e3", ".5", "5.", "1E-2", "0.0", "1e400", "1.e1", "4.9e-324", "1e-400", "9007199254740992.0", "01.5", "1e", "3.d"};
    private static final String[] TEXT = {"'x'", "'3'", "'4'", "'true'", "''", "'it''s'", "'TagA'", "'中'", "'xx'", "'a b'", "'-1'", "'2.5'"};
    private static final String[] NOISE = {
        "(", ")", ",", "=", "<>", "<", ">", ">=", "<=", "+", "-", "--", "--\n", "/*", "*/", "/* x */", "'", "\"", ";", "!", "!=", "==", "*", "/", "%",
        ".", "NOT", "AND", "OR", "BETWEEN", "IN", "IS", "NULL", "TRUE", "FALSE", "CONTAINS", "STARTSWITH", "ENDSWITH", "LIKE", "a", "3", "'x'", "\t", "\n", "\f", "\r", "ä", "a.b", "a-b", "1.2.3"};
    private static final String[] KINDS = {
        "a", "m", "3", "4.5", "2147483648", "'x'", "'3'", "TRUE", "FALSE", "NULL", "-3", "-a", "-'x'", "-TRUE", "-(a = 3)", "(a = 3)", "(NOT a)", "(NOT NULL)",
        "(a CONTAINS 'x')", "(m IN ('x'))", "(a AND b)", "(m OR a = 3)", "(m IS NULL)", "(a BETWEEN 1 AND 3)", "(m > 1)"};

    private final Random random;

    private FilterCases(long seed) {
        random = new Random(seed);
    }

    public static void main(String[] args) throws Exception {
        long seed = Long.parseLong(args[0]);
        FilterCases cases = new FilterCases(seed);
        List<Map<String, Object>> sets = cases.propertySets(28);
        PrintStream out = new PrintStream(System.out, false, StandardCharsets.UTF_8);
        out.println("# Verdicts of rocketmq-filter 5.5.0, made by interop.FilterCases " + String.join(" ", args));
        for (Map<String, Object> set : sets) {
            StringBuilder line = new StringBuilder("set");
            set.forEach((name, value) -> line.append('\t').append(name).append('=').append(value));
            out.println(line);
        }
        Set<String> expressions = new LinkedHashSet<>();
        combine(expressions);
        while (expressions.size() < Integer.parseInt(args[1])) {
            String expression = cases.any(1 + cases.random.nextInt(4));
            expressions.add(cases.random.nextInt(4) == 0 ? cases.damaged(expression) : expression);
        }
        for (String expression : expressions) {
            out.println(outcomes(expression, sets) + "\t" + escaped(expression));
        }
        out.flush();
    }

    /** Each kind of operand in each place. */
    private static void combine(Set<String> expressions) {
        String[] after = {
            "IS NULL", "IS NOT NULL", "CONTAINS 'x'", "NOT ENDSWITH '3'", "STARTSWITH ''", "IN ('x')", "NOT IN ('x')", "BETWEEN 1 AND 5", "BETWEEN 1.5 AND 5.5",
            "NOT BETWEEN 5 AND 1", "AND TRUE", "AND FALSE", "AND m", "OR TRUE", "OR FALSE", "OR m", "<> 3", "<> 'x'", "<> a", "> 2.5", "<= 2147483648", ")"};
        String[] before = {
            "TRUE AND", "FALSE OR", "NOT", "-", "+", "- -", "NOT NOT", "3 BETWEEN 1 AND", "3 BETWEEN 5 AND", "a BETWEEN 3 AND", "3 BETWEEN 9 AND", "m = 1 OR", ""};
        for (String left : KINDS) {
            for (String right : KINDS) {
                expressions.add(left + " = " + right);
                expressions.add(left + " > " + right);
            }
            for (String text : after) {
                expressions.add(left + " " + text);
            }
            for (String text : before) {
                expressions.add(text + " " + left);
            }
            expressions.add("3 BETWEEN " + left + " AND 3");
            expressions.add("a NOT BETWEEN " + left + " AND 3");
        }
    }

    private static String outcomes(String expression, List<Map<String, Object>> sets) {
        Expression compiled;
        try {
            compiled = new SqlFilter().compile(expression);
        } catch (MQFilterException refused) {
            return "E";
        }
        StringBuilder outcomes = new StringBuilder();
        for (Map<String, Object> set : sets) {
            outcomes.append(outcome(compiled, set));
        }
        return outcomes.toString();
    }

    private static char outcome(Expression compiled, Map<String, Object> set) {
        try {
            Object value = compiled.evaluate(new EvaluationContext() {
                @Override
                public Object get(String name) {
                    return set.get(name);
                }

                @Override
                public Map<String, Object> keyValues() {
                    return set;
                }
            });
            return value == null ? 'N' : Boolean.TRUE.equals(value) ? 'T' : 'F';
        } catch (Exception failed) {
            return 'X';
        }
    }

    private List<Map<String, Object>> propertySets(int count) {
        List<Map<String, Object>> sets = new ArrayList<>();
        sets.add(new HashMap<>());
        sets.add(new HashMap<>(Map.of("a", "3", "b", "x")));
        while (sets.size() < count) {
            Map<String, Object> set = new HashMap<>();
            for (String name : NAMES) {
                if (!name.equals("m") && random.nextInt(5) > 0) {
                    // Often numbers, so that comparisons succeed.
                    set.put(name, random.nextBoolean() ? pick(VALUES) : "" + (random.nextInt(8) - 1));
                }
            }
            sets.add(set);
        }
        return sets;
    }

    private String any(int depth) {
        return switch (depth <= 0 ? 3 + random.nextInt(7) : random.nextInt(10)) {
            case 0 -> any(depth - 1) + word(" AND ") + any(depth - 1);
            case 1 -> any(depth - 1) + word(" OR ") + any(depth - 1);
            case 2 -> random.nextBoolean() ? word("NOT ") + any(depth - 1) : "(" + any(depth - 1) + ")";
            case 3, 4 -> operand(depth) + space() + pick("=", "<>", "=", ">", ">=", "<", "<=") + space() + operand(depth);
            case 5 -> operand(depth) + word(random.nextBoolean() ? " BETWEEN " : " NOT BETWEEN ") + operand(0) + word(" AND ") + operand(0);
            case 6 -> name() + word(random.nextBoolean() ? " IN " : " NOT IN ") + list();
            case 7 -> operand(depth) + word(random.nextBoolean() ? " IS NULL" : " IS NOT NULL");
            case 8 -> operand(depth) + word(pick(" ", " NOT ") + pick("CONTAINS ", "STARTSWITH ", "ENDSWITH ")) + pick(TEXT);
            default -> name() + space() + pick("=", ">", "<", ">=", "<=") + space() + number();
        };
    }

    private String operand(int depth) {
        return switch (random.nextInt(depth > 0 ? 14 : 12)) {
            case 0, 1, 2, 3, 4 -> name();
            case 5, 6, 7 -> number();
            case 8, 9 -> pick(TEXT);
            case 10 -> word(pick("TRUE", "FALSE", "NULL"));
            case 11 -> pick("-", "+", "- ", "NOT ") + (random.nextBoolean() ? name() : number());
            default -> pick("", "-", "NOT ", "") + "(" + any(depth - 1) + ")";
        };
    }

    private String name() {
        return pick(NAMES);
    }

    private String number() {
        return switch (random.nextInt(6)) {
            case 0 -> pick(FRACTION);
            case 1 -> pick(WHOLE);
            case 2 -> "-" + random.nextInt(5);
            default -> "" + random.nextInt(8);
        };
    }

    private String list() {
        StringBuilder list = new StringBuilder("(").append(pick(TEXT));
        for (int more = random.nextInt(4); more > 0; more--) {
            list.append(space()).append(',').append(space()).append(pick(TEXT));
        }
        return list.append(')').toString();
    }

    private String damaged(String expression) {
        int at = random.nextInt(expression.length() + 1);
        int to = Math.min(expression.length(), at + random.nextInt(3));
        String noise = random.nextInt(3) == 0 ? "" : pick("", " ") + pick(NOISE) + pick("", " ");
        return expression.substring(0, at) + noise + expression.substring(random.nextBoolean() ? at : to);
    }

    private String word(String text) {
        return switch (random.nextInt(6)) {
            case 0 -> text.toLowerCase(java.util.Locale.ROOT);
            case 1 -> text.replace(" ", pick(" ", "\t", "\n", "/**/"));
            default -> text;
        };
    }

    private String space() {
        return pick(" ", " ", "", "\n");
    }

    private String pick(String... texts) {
        return texts[random.nextInt(texts.length)];
    }

    private static String escaped(String text) {
        return text.replace("\\", "\\\\").replace("\t", "\\t").replace("\n", "\\n").replace("\r", "\\r").replace("\f", "\\f");
    }
}
