# docker build -t ranklsim . && docker run --rm -v "$PWD/runs:/runs" ranklsim run modality -o /runs/modality
FROM python:3.13-slim
WORKDIR /src
COPY . .
RUN pip install --no-cache-dir --constraint requirements/lock.txt . && rm -rf /src
RUN useradd --create-home user
USER user
WORKDIR /home/user
# The solver is compiled once, so that the first command answers at once.
RUN ranklsim simulate --agent denosumab --dose 60mg -o /dev/null
ENTRYPOINT ["ranklsim"]
CMD ["--help"]
