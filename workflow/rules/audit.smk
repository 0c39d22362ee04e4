# The front page: what the claims say, and the settings they were made with.


rule front:
    input:
        claims=rules.claims.output.claims,
    output:
        RESULTS + "/front.rst",
    params:
        config=STUDY.model_dump(mode="json"),
        code=code("front.py"),
    log:
        RESULTS + "/logs/front.log",
    script:
        "../scripts/front.py"
